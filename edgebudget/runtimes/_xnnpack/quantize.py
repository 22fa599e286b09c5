"""Which values XNNPACK's PT2E quantizer makes int8, on the ATen graph before decomposition.

Read in backends/xnnpack/quantizer: static patterns (linear, conv, add, mul with or without relu, cat,
adaptive_avg_pool2d), then `propagate_annotation` over operators that share their input's scale. Everything else stays
float, with a convert on each side.
"""

from dataclasses import dataclass

from edgebudget.graph import FLOATING
from edgebudget.runtimes._functional import Functional

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
    """`values` are held as int8; `operators`, by index in the trace, read int8."""

    values: frozenset[int] = frozenset()
    operators: frozenset[int] = frozenset()


FLOAT = Quantization()


def quantize(functional: Functional) -> Quantization:
    """Return what the quantizer, applied to the whole model with static activations, makes int8. Pure."""
    readers: dict[int, list[str]] = {}
    for node in functional.nodes:
        for value in node.inputs:
            readers.setdefault(value, []).append(node.name)
    quantized: set[int] = set()
    covered: set[int] = set()
    folded: set[int] = set()  # outputs of convolutions whose batch norm takes their place
    for node in functional.nodes:
        name, output = node.name, node.outputs[0] if node.outputs else -1
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
