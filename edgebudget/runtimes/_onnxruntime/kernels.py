"""What single kernels hold beyond their inputs and outputs: scratch while they run, packed weights while they live."""

from collections.abc import Sequence
from math import prod

from edgebudget.runtimes._onnxruntime.ir import Graph, Node

FLOAT_BYTES = 4
GEMM_COLUMNS_ALIGN = 16  # MLAS_SGEMM_STRIDEN_THREAD_ALIGN (core/mlas/lib/mlasi.h)
BUFFER_ALIGN_BYTES = 64  # MlasGetPreferredBufferAlignment
SEGMENT_NUMEL = 128 * 128  # MLAS_CONV_WORKING_BUFFER_SIZE_PER_THREAD (core/mlas/lib/mlasi.h), in floats


def packed_gemm_nbytes(columns: int, rows: int) -> int:
    """Return the bytes of a packed float32 matrix B of `rows` x `columns`: `MlasGemmPackBSize` (mlas/lib/sgemm.cpp)."""
    aligned = -(-columns // GEMM_COLUMNS_ALIGN) * GEMM_COLUMNS_ALIGN
    return -(-aligned * rows * FLOAT_BYTES // BUFFER_ALIGN_BYTES) * BUFFER_ALIGN_BYTES


def convolution_scratch_nbytes(graph: Graph, node: Node, *, arm: bool) -> int:
    """Return the working buffer of a convolution that is not blocked, on one thread.

    `MlasConvPrepare` (mlas/lib/convolve.cpp): none for a pointwise product, all of im2col where filters outnumber
    output positions, a row for Arm's direct 3x3 depthwise kernel, else one segment.
    """
    window = node.window
    if window is None:
        return 0
    source, weight = graph.values[node.inputs[0]].shape, graph.values[node.inputs[1]].shape
    out = graph.values[node.outputs[0]].shape
    rank = len(window.kernel)
    if rank > 3 or len(source) != rank + 2:
        return 0
    depth = weight[1] * prod(window.kernel)
    positions = prod(out[2:])
    filters = out[1] // window.groups
    ones = (1,) * rank
    if window.stride == ones and not any(window.pads):
        if depth == weight[1]:
            return 0
        whole_row = window.kernel[-1] == source[-1]
        whole_column = rank == 2 and window.kernel == (source[2], 1)
        if rank == 2 and window.dilation == ones and weight[1] == 1 and (whole_row or whole_column):
            return 0
    if filters > positions:
        return positions * depth * FLOAT_BYTES
    direct = (
        rank == 2 and filters == 1 and weight[1] == 1 and window.kernel == (3, 3) and max(window.pads) <= 1
        and window.dilation == ones and window.stride == ones
    )  # fmt: skip
    if arm and direct:
        return (source[3] + 2) * FLOAT_BYTES
    return SEGMENT_NUMEL * FLOAT_BYTES


def transposed_convolution_scratch_nbytes(graph: Graph, node: Node) -> int:
    """Return the column buffer of ConvTranspose: one group's kernel for every input position (conv_transpose.cc)."""
    weight = graph.values[node.inputs[1]].shape
    return prod(weight[1:]) * prod(graph.values[node.inputs[0]].shape[2:]) * FLOAT_BYTES


def resize_scratch(name: str, before: Sequence[int], after: Sequence[int]) -> tuple[int, ...]:
    """Return the index and scale tables of a linear Resize (core/providers/cpu/tensor/upsample.cc)."""
    if "bilinear" in name:
        return (2 * (4 + FLOAT_BYTES) * sum(after[2:]),)
    if "trilinear" in name:
        return (2 * (8 + FLOAT_BYTES) * sum(after[2:]),)
    return ()


def recurrent_scratch(kind: str, batch: int, length: int, width: int, hidden: int, directions: int) -> tuple[int, ...]:
    """Return the buffers of an LSTM, GRU or RNN over a sequence (uni_directional_lstm.cc, deep_cpu_gru.cc, rnn.cc).

    The gates of all steps for each direction; a reverse direction turns its inputs and outputs round.
    """
    gates = {"LSTM": 4, "GRU": 3}.get(kind, 1)
    buffers = [gates * hidden * batch * length] * directions
    if directions == 2:
        buffers += [length * batch * width, length * batch * hidden]
    buffers += [hidden * batch] * (3 * directions)  # the state of a step, in its several forms
    return tuple(numel * FLOAT_BYTES for numel in buffers)
