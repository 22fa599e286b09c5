"""What `quantize_dynamic` and `MatMulNBitsQuantizer` make of an exported graph, and a session of that.

`quantize_dynamic` (onnxruntime/python/tools/quantization): convolutions, products with a constant and look-ups in a
table get int8 weights by tensor; a DynamicQuantizeLinear stands before each value they read. A session fuses a product
with what surrounds it into DynamicQuantizeMatMul; a ConvInteger is left with a Cast, a Mul and an Add.
`MatMulNBitsQuantizer` takes products with a constant that the exporter wrote as MatMul: a linear layer over two
dimensions is a Gemm and stays as it is.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from edgebudget.dtypes._static import SCALE_NBYTES, ZERO_POINT_NBYTES
from edgebudget.dtypes._weights import with_weights
from edgebudget.dtypes.int4_weight_only import GROUP_NUMEL
from edgebudget.dtypes.interface import Assignment, DtypeOption, Held
from edgebudget.graph import TracedGraph
from edgebudget.runtimes._onnxruntime.ir import ABSENT, Graph, Node

WEIGHT_OPTIONS: Mapping[str, int] = {"int8-dynamic": 8, "int8-weight-only": 8, "int4-weight-only": 4}
"""Options of which ONNX Runtime's quantizers rewrite the exported file before a session reads it: bits a weight."""

HELD_SMALL = frozenset({"linear", "conv1d", "conv2d", "conv3d", "embedding"})


@dataclass(slots=True)
class Added:
    """What a quantizer adds to the file: nodes, their inputs; and the nodes that it wrote anew, without metadata."""

    nodes: int = 0
    inputs: int = 0
    rewritten: int = 0


def quantize_dynamically(graph: Graph, operators: Container[int]) -> Added:
    """Rewrite `graph` with int8 weights where the operator a node comes from is among `operators`."""
    added = Added()
    small: dict[int, int] = {}  # a value -> its int8 form
    integers: dict[int, int] = {}
    for node in list(graph.nodes.values()):
        if node.op not in operators or len(node.inputs) < 2:
            continue
        if node.kind == "Gather":
            _look_up(graph, node, integers, added)
        elif node.kind == "Conv" and _is_weight(graph, node.inputs[1]):
            _convolve(graph, node, _quantized(graph, node, small, added), integers, added)
        elif node.kind in ("Gemm", "MatMul") and _is_weight(graph, node.inputs[1]):
            _multiply(graph, node, integers, added, first=node.inputs[0] not in small)
            small.setdefault(node.inputs[0], ABSENT)
    return added


def quantize_blocks(graph: Graph, operators: Container[int], bits: int) -> Added:
    """Rewrite products with a constant matrix as MatMulNBits, `bits` a weight in blocks of `GROUP_NUMEL`."""
    added = Added()
    packed: dict[int, tuple[int, int]] = {}
    for node in list(graph.nodes.values()):
        if node.op not in operators or node.kind != "MatMul" or not _is_weight(graph, node.inputs[1]):
            continue
        weight = node.inputs[1]
        if weight not in packed:
            rows, columns = graph.values[weight].shape
            blocks = -(-rows // GROUP_NUMEL)
            packed[weight] = (
                graph.value((columns, blocks, GROUP_NUMEL * bits // 8), 1, constant=True),
                graph.value((columns, blocks), 4, constant=True),
            )
        bias = node.inputs[2:]
        new = graph.replace(node, "MatMulNBits")
        new.inputs = [node.inputs[0], *packed[weight], *bias]
        if bits == 8:  # no kernel computes in float32 from 8 bits: the matrix is cast whole in every run
            new.scratch = (graph.values[weight].nbytes,)
        added.nodes += len(bias)  # in the file the bias is an Add of its own
        added.inputs += 1 + len(bias)
        added.rewritten += 1
    return added


def hold(option: DtypeOption, graph: TracedGraph, options: Sequence[str]) -> Assignment:
    """Return how the file holds each storage: what the quantizers take is not what `option` says of linear layers."""
    plain = {index for index, name in enumerate(options) if name not in WEIGHT_OPTIONS}
    weights: dict[int, tuple[int, Held]] = {}
    for op in graph.ops:
        position = 0 if op.name == "embedding" else 1
        if op.index in plain or op.name not in HELD_SMALL or len(op.inputs) <= position:
            continue
        weight = graph.tensors[op.inputs[position]]
        if not graph.storages[weight.storage].role.is_weight:
            continue
        if options[op.index] == "int8-dynamic":
            weights[op.index] = (position, Held("int8", weight.numel, SCALE_NBYTES + ZERO_POINT_NBYTES))
        elif op.name == "linear" and len(graph.tensors[op.inputs[0]].shape) > 2:
            bits = WEIGHT_OPTIONS[options[op.index]]
            rows, columns = weight.shape
            blocks = rows * -(-columns // GROUP_NUMEL)
            nbytes = blocks * GROUP_NUMEL * bits // 8
            weights[op.index] = (1, Held(f"int{bits}", nbytes, blocks * SCALE_NBYTES))
    return with_weights(option.assign_part(graph, plain), graph, weights)


def convolution_scratch(graph: Graph, node: Node) -> tuple[int, ...]:
    """Return the int8 matrix that a ConvInteger multiplies its weights with (conv_integer.cc), if it needs one."""
    window = node.window
    if window is None:
        return ()
    taps = 1
    for size in window.kernel:
        taps *= size
    if taps == 1 and set(window.stride) == {1} and not any(window.pads):
        return ()
    positions = 1
    for size in graph.values[node.outputs[0]].shape[2:]:
        positions *= size
    return (graph.values[node.inputs[1]].shape[1] * taps * positions,)


def _is_weight(graph: Graph, value: int) -> bool:
    found = graph.values[value] if value != ABSENT else None
    return found is not None and found.constant and found.itemsize == 4 and len(found.shape) >= 2


def _integer(graph: Graph, weight: int, integers: dict[int, int], shape: tuple[int, ...]) -> int:
    if weight not in integers:
        integers[weight] = graph.value(shape, 1, constant=True)
    return integers[weight]


def _parameters(graph: Graph) -> list[int]:
    """A scale and a zero point of a whole tensor."""
    return [graph.value((), 4, constant=True), graph.value((), 1, constant=True)]


def _quantized(graph: Graph, node: Node, small: dict[int, int], added: Added) -> int:
    source = node.inputs[0]
    if small.get(source, ABSENT) == ABSENT:
        small[source] = graph.value(graph.values[source].shape, 1)
        outputs = [small[source], graph.value((), 4), graph.value((), 1)]
        graph.add("DynamicQuantizeLinear", [source], outputs, node.op)
        added.nodes += 1
        added.inputs += 1
    return small[source]


def _convolve(graph: Graph, node: Node, source: int, integers: dict[int, int], added: Added) -> None:
    shape = graph.values[node.outputs[0]].shape
    steps = [graph.value(shape, 4) for _ in range(3)]
    weight = node.inputs[1]
    new = graph.replace(node, "ConvInteger")
    new.inputs = [source, _integer(graph, weight, integers, graph.values[weight].shape)]
    new.parameters = tuple(_parameters(graph))
    new.outputs = [steps[0]]
    graph.add("Cast", [steps[0]], [steps[1]], node.op)
    scale = graph.value((), 4)
    graph.add("Mul", [new.parameters[0]], [scale], node.op)
    scaled = steps[2] if len(node.inputs) > 2 else node.outputs[0]
    graph.add("Mul", [steps[1], scale], [scaled], node.op)
    added.nodes += 3
    added.inputs += 7
    if len(node.inputs) > 2:
        graph.add("Add", [scaled, node.inputs[2]], node.outputs, node.op)
        added.nodes += 2  # a Reshape of the bias, which the session folds
        added.inputs += 4
    added.rewritten += 1


def _multiply(graph: Graph, node: Node, integers: dict[int, int], added: Added, *, first: bool) -> None:
    weight, bias = node.inputs[1], node.inputs[2:]
    shape = graph.values[weight].shape
    new = graph.replace(node, "DynamicQuantizeMatMul")
    new.inputs = [node.inputs[0], _integer(graph, weight, integers, shape[::-1] if node.transposed_b else shape), *bias]
    new.transposed_b = False
    new.parameters = tuple(_parameters(graph))
    new.scratch = (graph.values[node.inputs[0]].nbytes // 4,)
    added.nodes += 3 + len(bias) + int(first)
    added.inputs += 8 + 2 * len(bias)
    added.rewritten += 1


def _look_up(graph: Graph, node: Node, integers: dict[int, int], added: Added) -> None:
    table = node.inputs[0]
    if not _is_weight(graph, table):
        return
    found = graph.value(graph.values[node.outputs[0]].shape, 1)
    parameters = _parameters(graph)
    new = graph.replace(node, "Gather")
    new.inputs = [_integer(graph, table, integers, graph.values[table].shape), *node.inputs[1:]]
    new.outputs = [found]
    graph.add("DequantizeLinear", [found, *parameters], node.outputs, node.op)
    added.nodes += 1
    added.inputs += 3
    added.rewritten += 1
