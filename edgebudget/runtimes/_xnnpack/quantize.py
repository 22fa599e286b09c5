"""Which values XNNPACK's PT2E quantizer makes int8, on the ATen graph before decomposition.

Read in backends/xnnpack/quantizer: static patterns (linear, conv, add, mul with or without relu, cat,
adaptive_avg_pool2d), then `propagate_annotation` over operators that share their input's scale. Everything else stays
float, with a convert on each side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgebudget.dtypes._static import SCALE_NBYTES
from edgebudget.dtypes._weights import linear_weights, takes_groups, with_weights
from edgebudget.dtypes.int4_weight_only import GROUP_NUMEL
from edgebudget.dtypes.interface import Assignment, DtypeOption, Held
from edgebudget.graph import FLOATING, TracedGraph
from edgebudget.runtimes._functional import Functional, Node
from edgebudget.runtimes._xnnpack.edge import Weights
from edgebudget.runtimes._xnnpack.operators import GROUP_SCALE_BYTES

# _is_share_obs_or_fq_op, xnnpack_quantizer_utils.py
SHARING = frozenset({
    "relu", "hardtanh", "relu6", "max_pool2d", "mean", "permute", "transpose", "squeeze", "adaptive_avg_pool2d",
    "view", "reshape", "slice", "flatten", "dropout", "unflatten",
})  # fmt: skip
_CONVOLUTIONS = frozenset({"conv1d", "conv2d", "convolution"})
_TRANSPOSED = frozenset({"conv_transpose1d", "conv_transpose2d"})
_SHARED_OUTPUT = frozenset({"cat", "adaptive_avg_pool2d"})  # annotated alone, a relu behind them shares their scale
_CONVOLVING = _CONVOLUTIONS | _TRANSPOSED
_ANNOTATED = _CONVOLVING | {"linear", "add", "mul", "cat", "adaptive_avg_pool2d"}


@dataclass(frozen=True, slots=True)
class Quantization:
    """`values` are held as int8; `operators`, by index in the trace, read int8; those in `weights` read floating-point
    values, which are made int8 as they run, with weights held so."""

    values: frozenset[int] = frozenset()
    operators: frozenset[int] = frozenset()
    weights: Mapping[int, Weights] = field(default_factory=dict)


def quantize(graph: TracedGraph, functional: Functional, options: Sequence[str]) -> Quantization:
    """Return what is made int8 where `options` has for each operator of `graph` the option it runs under. Pure.

    `int8` is the quantizer with static activations, `int8-dynamic` with dynamic ones: linear layers, and convolutions
    over two dimensions that are neither depthwise nor read by a relu alone (`_do_annotate_conv` leaves those to a
    pattern that is for static activations). `int4-weight-only` is torchao's 4-bit weights.
    """
    readers = _readers(functional)
    layers = linear_weights(graph)
    weights: dict[int, Weights] = {}
    for node in functional.nodes:
        option = options[node.op.index]
        if option == "int8-dynamic" and _is_dynamic(node, functional, graph, readers):
            weights[node.op.index] = "qc8w"
        elif (
            option == "int4-weight-only" and node.name == "linear" and takes_groups(graph, node.op, layers, GROUP_NUMEL)
        ):
            weights[node.op.index] = "qb4w"
    if "int8" not in options:
        return Quantization(weights=weights)
    static = _quantize_statically(functional, frozenset(i for i, option in enumerate(options) if option == "int8"))
    return Quantization(static.values, static.operators, weights)


def hold(option: DtypeOption, graph: TracedGraph, weights: Mapping[int, Weights]) -> Assignment:
    """Return how the program holds each storage where the operators in `weights` have integer ones."""
    options = option.by_operator(graph)
    plain = {index for index, name in enumerate(options) if name not in ("int8-dynamic", "int4-weight-only")}
    held: dict[int, tuple[int, Held]] = {}
    for index, form in weights.items():
        op = graph.ops[index]
        weight = graph.tensors[op.inputs[1]]
        channels = weight.shape[1 if op.name.startswith("conv_transpose") else 0]
        if form == "qb4w":
            held[index] = (1, Held("int4", weight.numel // 2, weight.numel // GROUP_NUMEL * GROUP_SCALE_BYTES))
        else:
            held[index] = (1, Held("int8", weight.numel, channels * SCALE_NBYTES))
    return with_weights(option.assign_part(graph, plain), graph, held)


def _readers(functional: Functional) -> dict[int, list[Node]]:
    readers: dict[int, list[Node]] = {}
    for node in functional.nodes:
        for value in node.inputs:
            readers.setdefault(value, []).append(node)
    return readers


def _is_dynamic(node: Node, functional: Functional, graph: TracedGraph, readers: Mapping[int, Sequence[Node]]) -> bool:
    if node.name not in ("linear", "conv2d", "conv_transpose2d") or len(node.inputs) < 2:
        return False
    weight = functional.values[node.inputs[1]]
    if not graph.storages[weight.storage].role.is_weight or weight.dtype not in FLOATING:
        return False
    following = readers.get(node.outputs[0], ())
    if len(following) == 1 and following[0].name == "batch_norm":  # folded before the quantizer comes
        following = readers.get(following[0].outputs[0], ())
    if node.name != "linear" and [reader.name for reader in following] == ["relu"]:
        return False
    if node.name == "conv_transpose2d":
        return node.arg(6, "groups", 1) == 1
    return node.name == "linear" or weight.shape[1] > 1


def _quantize_statically(functional: Functional, asked: frozenset[int]) -> Quantization:
    readers = {value: [node.name for node in nodes] for value, nodes in _readers(functional).items()}
    quantized: set[int] = set()
    covered: set[int] = set()
    folded: set[int] = set()  # outputs of convolutions whose batch norm takes their place
    claims = _claims(functional, readers, asked)
    for node in functional.nodes:
        name, output = node.name, node.outputs[0] if node.outputs else -1
        if node.op.index not in asked:
            continue
        if name == "batch_norm" and node.inputs[0] in folded:
            covered.add(node.op.index)
            if readers.get(output) != ["relu"]:
                quantized.add(output)
            else:
                folded.add(output)
            continue
        if name == "relu" and node.inputs[0] in folded:
            covered.add(node.op.index)
            quantized.add(output)
            continue
        if name in _ANNOTATED:
            if any(functional.values[v].dtype not in FLOATING for v in node.inputs):
                continue
            if name in _CONVOLVING and claims[node.inputs[1]] is not node:
                continue
            covered.add(node.op.index)
            following = readers.get(output, [])
            if (name in _CONVOLVING and following == ["batch_norm"]) or (
                following == ["relu"] and name not in _SHARED_OUTPUT
            ):
                folded.add(output)
            else:
                quantized.add(output)
        elif name in SHARING and node.inputs and node.inputs[0] in quantized:
            covered.add(node.op.index)
            quantized.add(output)
    return Quantization(frozenset(quantized), frozenset(covered))


def _claims(functional: Functional, readers: Mapping[int, list[str]], asked: frozenset[int]) -> dict[int, Node]:
    """Return which convolution is quantized of those with one weight: the first, of those with a relu behind if any.

    The quantizer passes over a pattern with a weight that another has marked (`_is_annotated`), and looks for
    convolutions with a relu first; linear layers it marks whatever they read.
    """
    claims: dict[int, tuple[bool, Node]] = {}
    for node in functional.nodes:
        if node.name not in _CONVOLVING or node.op.index not in asked:
            continue
        following = readers.get(node.outputs[0], [])
        plain = following not in (["relu"], ["batch_norm"])
        held = claims.get(node.inputs[1])
        if held is None or (held[0] and not plain):
            claims[node.inputs[1]] = (plain, node)
    return {weight: node for weight, (_, node) in claims.items()}
