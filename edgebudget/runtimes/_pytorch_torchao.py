"""Linear layers as torchao's `quantize_` leaves them on a CPU: what their weights are held in, and what they allocate.

Read in torchao 0.18 (`quantization/quantize_/workflows`, `kernel/intmm.py`) and checked against the profiler's
allocations (`tests/test_pytorch_torchao.py`). `Int4WeightOnlyConfig` packs for accelerators only; on a CPU 4-bit
weights are `IntxWeightOnlyConfig`'s, a byte each.
"""

from collections.abc import Iterable, Sequence
from math import prod

from edgebudget.dtypes import DtypeOption, assign
from edgebudget.dtypes.int4_weight_only import GROUP_NUMEL
from edgebudget.dtypes.interface import Assignment, Held
from edgebudget.graph import ITEMSIZE, Op, TracedGraph
from edgebudget.runtimes._pytorch_kernels import CpuKernels

FLOAT = ITEMSIZE["float32"]
TAKEN = frozenset({"int8-dynamic", "int8-weight-only", "int4-weight-only"})
UNPACKED_NOTE = (
    "Eager PyTorch on a CPU has no packed 4-bit weights: torchao holds a byte an element and casts to float32 in each "
    "layer."
)


def hold(option: DtypeOption, graph: TracedGraph) -> Assignment:
    """Return how each storage is held: as `option` says, but 4-bit weights a byte each."""
    assigned, options = assign(option, graph), option.by_operator(graph)
    if "int4-weight-only" not in options:
        return assigned
    held = list(assigned.held)
    for index in assigned.covered:
        weight = graph.tensors[graph.ops[index].inputs[1]] if options[index] == "int4-weight-only" else None
        if weight is not None and held[weight.storage].dtype == "int4":
            held[weight.storage] = Held("int8", weight.numel, held[weight.storage].quantization_nbytes)
    return Assignment.of(assigned.option, held, assigned.covered)


def add_scratch(
    graph: TracedGraph, options: Sequence[str], quantized: Iterable[int], kernels: CpuKernels, scratch: list[int]
) -> None:
    """Put into `scratch` what the layers at the indices `quantized` allocate beside their output, in bytes."""
    for index in quantized:
        scratch[index] = layer_bytes(graph, graph.ops[index], options[index], kernels)


def layer_bytes(graph: TracedGraph, op: Op, option: str, kernels: CpuKernels) -> int:
    """Return the most bytes that one linear layer has alive at once, its output apart.

    `int8-weight-only`: the weights cast to float32, then the product before it is scaled. `int4-weight-only`: two
    copies of the weights while they are dequantized. `int8-dynamic`: copies of the input while it is quantized, an
    int32 copy of the weights for their sums, and the product three times over while it is scaled.
    """
    rows, columns = graph.tensors[op.inputs[1]].shape
    weights = FLOAT * rows * columns
    inputs = graph.tensors[op.inputs[0]].numel
    outputs = FLOAT * prod(graph.tensors[op.outputs[0]].shape)
    if option == "int8-weight-only":
        return max(weights, outputs)
    if option == "int4-weight-only":
        scales = FLOAT * rows * (columns // GROUP_NUMEL)
        return max(2 * weights + scales - outputs, weights)
    tokens = inputs // columns
    parameters = (FLOAT + 1) * tokens  # a scale and a zero point for each
    if not kernels.has_vnni:
        return max(2 * FLOAT * inputs + 2 * parameters - outputs, inputs + parameters + 2 * outputs)
    shifted = 2 * FLOAT * inputs + inputs + parameters  # from int8 to uint8, by way of int32
    product = 2 * inputs + parameters + FLOAT * rows + max(weights, 2 * outputs)
    return max(shifted - outputs, product)
