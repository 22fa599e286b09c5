"""Which values XNNPACK's PT2E quantizer makes int8, on the ATen graph before decomposition.

Read in backends/xnnpack/quantizer: static patterns (linear, conv, add, mul with or without relu, cat,
adaptive_avg_pool2d), then `propagate_annotation` over operators that share their input's scale. Everything else stays
float, with a convert on each side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgebudget.dtypes._weights import linear_weights, takes_groups
from edgebudget.dtypes.int4_weight_only import GROUP_NUMEL
from edgebudget.graph import FLOATING, TracedGraph
from edgebudget.runtimes._functional import Functional, Node
from edgebudget.runtimes._xnnpack.edge import Weights

# _is_share_obs_or_fq_op, xnnpack_quantizer_utils.py
SHARING = frozenset({
    "relu", "hardtanh", "relu6", "max_pool2d", "mean", "permute", "transpose", "squeeze", "adaptive_avg_pool2d",
    "view", "reshape", "slice", "flatten", "dropout", "unflatten",
})  # fmt: skip
_CONVOLUTIONS = frozenset({"conv1d", "conv2d", "convolution"})
_TRANSPOSED = frozenset({"conv_transpose1d", "conv_transpose2d"})
_SHARED_OUTPUT = frozenset({"cat", "adaptive_avg_pool2d"})  # annotated alone, a relu behind them shares their scale
_ANNOTATED = _CONVOLUTIONS | _TRANSPOSED | {"linear", "add", "mul", "cat", "adaptive_avg_pool2d"}


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
    over two dimensions that are not depthwise (`_do_annotate_conv`). `int4-weight-only` is torchao's 4-bit weights.
    """
    layers = linear_weights(graph)
    weights: dict[int, Weights] = {}
    for node in functional.nodes:
        option = options[node.op.index]
        if option == "int8-dynamic" and _is_dynamic(node, functional, graph):
            weights[node.op.index] = "qc8w"
        elif (
            option == "int4-weight-only" and node.name == "linear" and takes_groups(graph, node.op, layers, GROUP_NUMEL)
        ):
            weights[node.op.index] = "qb4w"
    if "int8" not in options:
        return Quantization(weights=weights)
    static = _quantize_statically(functional, frozenset(i for i, option in enumerate(options) if option == "int8"))
    return Quantization(static.values, static.operators, weights)


def _is_dynamic(node: Node, functional: Functional, graph: TracedGraph) -> bool:
    if node.name not in ("linear", "conv2d", "conv_transpose2d") or len(node.inputs) < 2:
        return False
    weight = functional.values[node.inputs[1]]
    if not graph.storages[weight.storage].role.is_weight or weight.dtype not in FLOATING:
        return False
    if node.name == "conv_transpose2d":
        return node.arg(6, "groups", 1) == 1
    return node.name == "linear" or weight.shape[1] > 1


def _quantize_statically(functional: Functional, asked: frozenset[int]) -> Quantization:
    readers: dict[int, list[str]] = {}
    for node in functional.nodes:
        for value in node.inputs:
            readers.setdefault(value, []).append(node.name)
    quantized: set[int] = set()
    covered: set[int] = set()
    folded: set[int] = set()  # outputs of convolutions whose batch norm takes their place
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
            covered.add(node.op.index)
            following = readers.get(output, [])
            fuses_norm = name in _CONVOLUTIONS or name in _TRANSPOSED
            if (fuses_norm and following == ["batch_norm"]) or (following == ["relu"] and name not in _SHARED_OUTPUT):
                folded.add(output)
            else:
                quantized.add(output)
        elif name in SHARING and node.inputs and node.inputs[0] in quantized:
            covered.add(node.op.index)
            quantized.add(output)
    return Quantization(frozenset(quantized), frozenset(covered))
