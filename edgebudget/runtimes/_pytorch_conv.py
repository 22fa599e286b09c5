"""What a convolution allocates beside its output: the backend that ATen picks, and what that backend copies.

Read in ATen/native/Convolution.cpp (`ConvParams::use_mkldnn`, `_select_conv_backend`), ConvolutionMM2d.cpp (im2col) and
mkldnn/Conv.cpp; the order of allocations is checked against the profiler's.
"""

from functools import lru_cache
from math import prod

from edgebudget.runtimes._onednn_conv import ConvShape, blocked_layout
from edgebudget.runtimes._pytorch_kernels import CpuKernels, Onednn

_SMALL_INPUT_NUMEL = 20480  # ConvParams::use_mkldnn: below it, and without groups or wide filters, THNN is used
_LARGE_BATCH = 16  # ConvParams::use_mkldnn


@lru_cache(maxsize=65536)
def convolution_bytes(
    shape: tuple[int, ...],
    channels_last: bool,
    contiguous: bool,
    weight: tuple[int, ...],
    has_bias: bool,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    output: tuple[int, ...],
    itemsize: int,
    kernels: CpuKernels,
) -> int:
    """Return the most bytes alive inside a forward convolution, less its output."""
    conv = ConvShape(
        shape[0], groups, weight[1], weight[0] // groups, shape[2:], output[2:], weight[2:], stride, padding, dilation,
        has_bias,
    )  # fmt: skip
    out_bytes = prod(output) * itemsize
    copied = 0 if contiguous or channels_last else prod(shape) * itemsize
    if kernels.onednn is not Onednn.OFF and uses_onednn(shape, conv):
        layout = blocked_layout(conv, kernels.simd, itemsize)
        held = (layout.source_numel + layout.weight_numel + layout.destination_numel) * itemsize
        computing = layout.scratchpad_bytes + held
        copying_out = layout.destination_numel * itemsize + out_bytes
        return copied + max(computing, copying_out) - out_bytes
    return copied + _slow_bytes(conv, out_bytes, itemsize)


def uses_onednn(shape: tuple[int, ...], conv: ConvShape) -> bool:
    """Whether ATen takes oneDNN for a float32 convolution on one thread."""
    is_worth_it = (
        any(s != 1 for s in conv.stride)
        or any(d != 1 for d in conv.dilation)
        or shape[0] >= _LARGE_BATCH
        or any(k != 1 for k in conv.kernel[-2:])
    )
    is_large = (
        conv.groups > 1 or all(k > 3 for k in conv.kernel[-2:]) or shape[0] > 1 or prod(shape) > _SMALL_INPUT_NUMEL
    )
    return is_worth_it and is_large


def _slow_bytes(conv: ConvShape, out_bytes: int, itemsize: int) -> int:
    """Bytes of the im2col kernel: one image's columns for all images at once, and with groups one group at a time."""
    plain = all(k == 1 for k in conv.kernel) and all(s == 1 for s in conv.stride) and not any(conv.padding)
    columns = 0 if plain else conv.batch * conv.ic * prod(conv.kernel) * prod(conv.output) * itemsize
    if conv.groups == 1:
        return columns
    # Every group's output is kept until they are joined; while the last one runs, its columns are alive too.
    return max(out_bytes, columns + out_bytes) - out_bytes if columns > out_bytes else out_bytes
