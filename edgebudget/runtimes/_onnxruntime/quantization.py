"""Static int8 as `onnxruntime.quantization.quantize_static` writes it, and what a session makes of it.

QDQ, weights int8 by channel, activations uint8: of int8 ones x86-64 kernels take only some. The quantizer
(onnxruntime/python/tools/quantization) puts QuantizeLinear and DequantizeLinear round what it knows; the session turns
groups of DequantizeLinear, operator, QuantizeLinear into integer kernels (core/optimizer/qdq_transformer). What is left
dequantizes, its weights too, in every run.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from math import prod

from edgebudget.runtimes._onnxruntime.ir import ABSENT, Graph, Node

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm"})
SAME_AS_INPUT = frozenset(
    {
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "MaxPool",
        "AveragePool",
        "Slice",
        "Resize",
        "Pad",
        "Gather",
    }
)
REMOVABLE = frozenset({"Relu", "Clip"})
NORMALIZING = frozenset({"LayerNormalization", "InstanceNormalization", "BatchNormalization"})
ALL_TENSORS = frozenset(
    {
        "Add",
        "Mul",
        "Sigmoid",
        "LeakyRelu",
        "Concat",
        "Softmax",
        "MatMul",
        "Where",
        "Split",
        "GlobalAveragePool",
        "CumSum",
    }
)
DROPPED = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "MaxPool", "Slice", "Gather"})
UNARY = frozenset({"AveragePool", "GlobalAveragePool", "Sigmoid", "LeakyRelu", "Softmax"})
ELEMENTWISE = frozenset({"Add", "Mul", "Concat"})


@dataclass(frozen=True, slots=True)
class Written:
    """The quantized file: its nodes and initializers, and the traced operators of the nodes that the exporter wrote."""

    node_count: int
    input_count: int
    initializers: tuple[int, ...]
    exported_ops: tuple[int, ...]


def quantize(graph: Graph, operators: Container[int]) -> Written:
    """Rewrite `graph` as quantized and then fused, where the operator a node comes from is among `operators`; return
    what the file holds before the session fuses it."""
    marks = _mark(graph, operators)
    exported_ops = tuple(node.op for node in graph.nodes.values())
    _insert_pairs(graph, marks)
    graph.sort_breadth_first()
    written = Written(len(graph.nodes), graph.input_count, graph.initializers(), exported_ops)
    _fuse(graph)
    graph.prune()
    return written


@dataclass(slots=True)
class _Marks:
    activations: dict[int, int | None]  # value -> the value whose scale it shares
    weights: dict[tuple[int, int], int]  # (node, input) -> bytes an element


def _mark(graph: Graph, operators: Container[int]) -> _Marks:
    """Decide, node by node, which tensors are quantized; removes activations that a quantized range can stand for."""
    marks = _Marks({}, {})
    values = graph.values
    producers, consumers = graph.producers(), graph.consumers()
    results = set(graph.results)

    def take(v: int, shared: int | None = None) -> None:
        if v != ABSENT and not values[v].constant and values[v].itemsize == 4 and v not in marks.activations:
            marks.activations[v] = shared

    for node in list(graph.nodes.values()):
        if node.op not in operators:
            continue
        source = node.inputs[0]
        if node.kind in WEIGHTED or node.kind in NORMALIZING:
            take(source)
            take(node.outputs[0])
            for position, v in enumerate(node.inputs[1:3], 1):
                if v != ABSENT and values[v].constant:
                    marks.weights[node.index, position] = 1 if position == 1 else 4
                elif position == 1:
                    take(v)
        elif node.kind in REMOVABLE:
            if source not in marks.activations:
                continue
            producer = producers.get(source)
            if producer is not None and len(consumers[source]) == 1 and source not in results:
                producer.outputs = [node.outputs[0] if v == source else v for v in producer.outputs]
                producers[node.outputs[0]] = producer
                del marks.activations[source]
                graph.remove(node)
            take(node.outputs[0])
        elif node.kind == "Gather" and values[source].constant and values[source].itemsize == 4:
            marks.weights[node.index, 0] = 1  # a table of embeddings
            take(node.outputs[0], source)
        elif node.kind in SAME_AS_INPUT:
            if source in marks.activations:
                take(node.outputs[0], source)
        elif node.kind in ALL_TENSORS:
            for position, v in enumerate(node.inputs):
                if v != ABSENT and values[v].constant and values[v].itemsize == 4 and len(values[v].shape) > 0:
                    marks.weights[node.index, position] = 1
                else:
                    take(v)
            for v in node.outputs:
                take(v, source if node.kind == "Split" else None)
    return marks


def _insert_pairs(graph: Graph, marks: _Marks) -> None:
    """Put one QuantizeLinear behind each quantized tensor and one DequantizeLinear before each of its readers."""
    values = graph.values
    consumers = graph.consumers()
    integers: dict[int, int] = {}
    scales: dict[int, list[int]] = {}
    for (index, position), itemsize in marks.weights.items():
        node = graph.nodes[index]
        weight = node.inputs[position]
        if weight not in integers:
            integers[weight] = graph.value(values[weight].shape, itemsize, constant=True)
        channels = _channels(graph, node, position)
        scales[weight] = [graph.value(channels, 4, constant=True), graph.value(channels, itemsize, constant=True)]
        wide = graph.value(values[weight].shape, 4)
        graph.add("DequantizeLinear", [integers[weight], *scales[weight]], [wide], node.op)
        node.inputs[position] = wide
    producers = graph.producers()
    for v, shared in marks.activations.items():
        readers = [index for index in dict.fromkeys(r.index for r in consumers.get(v, ())) if index in graph.nodes]
        is_result = v in graph.results
        op = producers[v].op if v in producers else 0
        parameters = [] if shared is None else scales.get(shared, [])
        parameters = parameters or [graph.value((), 4, constant=True), graph.value((), 1, constant=True)]
        scales[v] = parameters
        small = graph.value(values[v].shape, 1)
        graph.add("QuantizeLinear", [v, *parameters], [small], op).shares_scale = shared is not None
        for index in readers:
            node = graph.nodes[index]
            wide = graph.value(values[v].shape, 4)
            graph.add("DequantizeLinear", [small, *parameters], [wide], node.op)
            node.inputs = [wide if i == v else i for i in node.inputs]
        if is_result:
            wide = graph.value(values[v].shape, 4)
            graph.add("DequantizeLinear", [small, *parameters], [wide], op)
            graph.results[graph.results.index(v)] = wide


def _channels(graph: Graph, node: Node, position: int) -> tuple[int, ...]:
    """Return the shape of a weight's scales: one a channel where the operator has channels, else a single one.

    `is_tensor_per_channel` with the axis that each operator asks for: operators/conv.py, gemm.py, matmul.py, norm.py.
    """
    shape = graph.values[node.inputs[position]].shape
    axis = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0 if node.transposed_b else 1, "MatMul": 1}.get(node.kind)
    if node.kind in WEIGHTED and position == 2:  # a bias has the scales of the product
        return _channels(graph, node, 1)
    return () if axis is None or len(shape) <= axis else (shape[axis],)


def _fuse(graph: Graph) -> None:
    producers, consumers = graph.producers(), graph.consumers()
    for node in graph.ordered():
        if node.kind in ("QuantizeLinear", "DequantizeLinear") or node.index not in graph.nodes:
            continue
        group = _Group.around(graph, node, producers, consumers)
        if group is None or not group.sources or not (group.targets or node.kind in ("Gemm", "MatMul")):
            continue
        if node.kind in DROPPED or node.kind == "Split" or (node.kind == "Resize" and node.mode == "nearest"):
            new_kind = node.kind if group.shares_scale else ""
        elif node.kind == "Conv" or node.kind == "MatMul" or node.kind in UNARY or node.kind in ELEMENTWISE:
            new_kind = "QLinear" + node.kind
        else:
            new_kind = "QGemm" if node.kind == "Gemm" else ""
        if new_kind:
            new = _replace(graph, node, new_kind, group)
            for v in new.inputs:
                consumers.setdefault(v, []).append(new)
            producers.update((v, new) for v in new.outputs)


@dataclass(frozen=True, slots=True)
class _Group:
    """A node with the DequantizeLinear nodes before it and the QuantizeLinear nodes behind it."""

    before: tuple[Node | None, ...]
    behind: tuple[Node, ...]
    sources: tuple[int, ...]
    targets: tuple[int, ...]

    @property
    def shares_scale(self) -> bool:
        return all(node.shares_scale for node in self.behind)

    @staticmethod
    def around(
        graph: Graph, node: Node, producers: Mapping[int, Node], consumers: Mapping[int, list[Node]]
    ) -> "_Group | None":
        before: list[Node | None] = []
        for position, v in enumerate(node.inputs):
            source = producers.get(v)
            if node.kind == "Gather" and position:
                before.append(None)
                continue
            dequantizes = source is not None and source.kind == "DequantizeLinear"
            if not dequantizes and v != ABSENT and not graph.values[v].constant:
                return None
            before.append(source if dequantizes else None)
        behind: list[Node] = []
        for v in node.outputs:
            readers = consumers.get(v, [])
            if len(readers) == 1 and readers[0].kind == "QuantizeLinear" and v not in graph.results:
                behind.append(readers[0])
        if behind and len(behind) != len(node.outputs):
            return None
        sources = tuple(d.inputs[0] for d in before if d is not None)
        return _Group(tuple(before), tuple(behind), sources, tuple(q.outputs[0] for q in behind))


def _replace(graph: Graph, node: Node, kind: str, group: _Group) -> Node:
    """Make the integer kernel: it reads what the DequantizeLinear nodes read and writes what the Q nodes wrote."""
    new = graph.replace(node, kind)
    parameters: list[int] = []
    for position, source in enumerate(group.before):
        if source is not None:
            new.inputs[position] = source.inputs[0]
            if position < 2 or node.kind not in WEIGHTED:  # a bias has the scale of the product
                parameters.extend(source.inputs[1:])
            graph.nodes.pop(source.index, None)
    if group.behind:
        new.outputs = [q.outputs[0] for q in group.behind]
        for q in group.behind:
            parameters.extend(q.inputs[1:])
            graph.nodes.pop(q.index, None)
    new.parameters = tuple(parameters) if kind.startswith("Q") else ()
    return new


def to_channels_last(graph: Graph) -> None:
    """NhwcTransformer: an integer convolution works in channels last, between two transpositions that may cancel."""
    values = graph.values
    for node in graph.ordered():
        if node.kind != "QLinearConv" or len(values[node.inputs[0]].shape) != 4:
            continue
        source, out = node.inputs[0], node.outputs[0]
        n, c, h, w = values[source].shape
        turned = graph.value((n, h, w, c), 1)
        graph.add("Transpose", [source], [turned], node.op).permutation = (0, 2, 3, 1)
        n, c, h, w = values[out].shape
        inner = graph.value((n, h, w, c), 1)
        graph.add("Transpose", [inner], [out], node.op).permutation = (0, 3, 1, 2)
        new = graph.replace(node, "QLinearConv")
        new.inputs, new.outputs = [turned, *node.inputs[1:]], [inner]
        new.parameters = node.parameters


def packed_integer_gemm_nbytes(columns: int, rows: int) -> int:
    """Return the bytes of a packed integer matrix B: `MlasGemmPackBSize` (mlas/lib/qgemm.cpp), column sums included."""
    aligned_columns = -(-columns // 16) * 16
    aligned_rows = -(-rows // 4) * 4
    return -(-(aligned_columns * 4 + aligned_columns * aligned_rows) // 64) * 64


def convolution_packing(graph: Graph, node: Node, *, arm: bool) -> tuple[bool, int]:
    """Return whether a QLinearConv takes the symmetric kernels, and the bytes of its packed filter.

    `QLinearConv::PrePack` and `MlasConvSymPackWSize` (mlas/lib/convsym.cpp) with the dispatch of AVX-512 or NEON.
    """
    shape = graph.values[node.inputs[1]].shape
    groups = node.window.groups if node.window else 1
    filters, channels = shape[0] // groups, shape[1]
    kernel = 1
    for size in shape[2:]:
        kernel *= size
    if groups > 1:
        if channels == 1 and filters == 1:
            return (groups % (8 if arm else 16) == 0, groups * kernel)
    elif not arm:
        if filters >= 16 and channels % 4 == 0 and filters % 4 == 0:
            return (True, -(-filters // 16) * 16 * channels * kernel)
    elif kernel > 1 and channels >= 64 and filters >= 8 and filters % 8 == 0:
        return (True, -(-filters // 8) * 8 * channels * kernel)
    return (False, groups * packed_integer_gemm_nbytes(filters, channels * kernel))


def convolution_scratch(graph: Graph, node: Node, *, arm: bool, pointer_bytes: int = 8) -> tuple[int, ...]:
    """Return the temporary buffers of a QLinearConv (`QLinearConv::Compute`, qlinearconv.cc), in the order it takes them.

    An int32 product unless the kernels are symmetric; where `to_channels_last` has not been, over one or three
    dimensions, an image turned round on the way in and out; an indirection buffer, or im2col.
    """
    symmetric, _ = convolution_packing(graph, node, arm=arm)
    window = node.window
    if window is None:
        return ()
    source = graph.values[node.inputs[0]].shape
    weight = graph.values[node.inputs[1]].shape
    out = graph.values[node.outputs[0]].shape
    is_channels_last = len(out) == 4
    positions = prod(out[1:-1]) if is_channels_last else prod(out[2:])
    kernel = prod(window.kernel)
    depthwise = weight[1] == 1 and weight[0] == window.groups
    buffers: list[int] = []
    if not symmetric:
        buffers.append(4 * positions * weight[0])
    if not is_channels_last:
        buffers += [prod(source[1:]), positions * weight[0]]
    pointwise = kernel == 1 and set(window.stride) == {1} and not any(window.pads)
    if depthwise or (symmetric and not pointwise):
        images = out[0] if symmetric and is_channels_last else 1
        buffers.append(pointer_bytes * kernel * positions * images)
    elif not pointwise:
        groups = window.groups if len(window.kernel) > 2 else 1
        buffers.append(groups * weight[1] * kernel * positions)
    return tuple(buffers)


def product_scratch(graph: Graph, node: Node) -> tuple[int, ...]:
    """Return the int32 product that QGemm and QLinearMatMul round to 8 bits (quant_gemm.cc, quantize_linear_matmul.cc).

    A QGemm that writes float32 computes in its output.
    """
    out = graph.values[node.outputs[0]]
    return (4 * prod(out.shape),) if out.itemsize == 1 else ()
