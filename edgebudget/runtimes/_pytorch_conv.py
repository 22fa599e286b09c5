"""What a convolution allocates beside its output: the backend that ATen picks, and what that backend copies.

Read in ATen/native/Convolution.cpp (`ConvParams::use_mkldnn`, `_select_conv_backend`), ConvolutionMM2d.cpp (im2col) and
mkldnn/Conv.cpp; the order of allocations is checked against the profiler's.
"""

from functools import lru_cache
from math import prod

from edgebudget.eager import Dims, is_channels_last, is_contiguous, suggests_channels_last
from edgebudget.graph import ITEMSIZE
from edgebudget.runtimes._onednn_conv import (
    ConvShape,
    arm_layout,
    blocked_layout,
    booked,
    channels_last_layout,
    round_up,
)
from edgebudget.runtimes._pytorch_kernels import CpuKernels, Onednn

_SMALL_INPUT_NUMEL = 20480  # ConvParams::use_mkldnn: below it, and without groups or wide filters, THNN is used
_LARGE_BATCH = 16  # ConvParams::use_mkldnn


def convolution_bytes(
    shape: Dims,
    strides: Dims,
    weight: Dims,
    weight_strides: Dims,
    has_bias: bool,
    stride: Dims,
    padding: Dims,
    dilation: Dims,
    groups: int,
    output: Dims,
    dtype: str,
    kernels: CpuKernels,
) -> int:
    """Return the most bytes alive inside a forward convolution, less its output."""
    if len(shape) == len(weight) - 1:  # no batch: ATen adds one
        shape, strides, output = (1, *shape), (0, *strides), (1, *output)
    if len(shape) == 3:  # ATen views one dimension as two
        shape, weight, output = _planar(shape), _planar(weight), _planar(output)
        strides, weight_strides = _planar_strides(strides), _planar_strides(weight_strides)
        stride, padding, dilation = (1, *stride), (0, *padding), (1, *dilation)
    itemsize = ITEMSIZE[dtype]
    conv = ConvShape(
        shape[0], groups, weight[1], weight[0] // groups, shape[2:], output[2:], weight[2:], stride, padding, dilation,
        has_bias,
    )  # fmt: skip
    onednn = uses_onednn(shape, conv, dtype, kernels)
    last = suggests_channels_last(shape, strides) or suggests_channels_last(weight, weight_strides)
    last = last and (onednn or len(shape) == 4)  # ATen/native/ConvUtils.h, `thnn_conv_use_channels_last`
    copied = _copied_numel(shape, strides, weight, weight_strides, last) * itemsize
    out_bytes = prod(output) * itemsize
    if not onednn:
        return copied + _slow_bytes(conv, out_bytes, itemsize, last)
    if last:
        layout = channels_last_layout(conv, kernels.simd)
        return copied + layout.scratchpad_bytes + layout.weight_numel * itemsize
    is_arm = kernels.onednn is Onednn.ACL
    layout = arm_layout(conv) if is_arm else blocked_layout(conv, kernels.simd, itemsize)
    held = (layout.source_numel + layout.weight_numel + layout.destination_numel) * itemsize
    computing = layout.scratchpad_bytes + held
    copying_out = layout.destination_numel * itemsize + out_bytes
    return copied + max(computing, copying_out) - out_bytes


@lru_cache(maxsize=65536)
def transposed_convolution_bytes(
    shape: Dims,
    strides: Dims,
    weight: Dims,
    weight_strides: Dims,
    has_bias: bool,
    stride: Dims,
    output_padding: Dims,
    groups: int,
    output: Dims,
    itemsize: int,
    kernels: CpuKernels,
) -> int:
    """Return the most bytes alive inside a transposed convolution, less its output.

    oneDNN takes it unless the output padding is as large as the stride: it holds input, weight and output in its own
    layouts, the input once more (`brgemm` with strides; its margins, some 20 KB, are left out), and the result is
    copied out twice. With groups it is a convolution's backward pass, which keeps the sums to which the bias is added.
    """
    if len(shape) == len(weight) - 1:  # no batch: ATen adds one
        shape, strides, output = (1, *shape), (0, *strides), (1, *output)
    in_bytes, out_bytes = prod(shape) * itemsize, prod(output) * itemsize
    last = suggests_channels_last(shape, strides) or suggests_channels_last(weight, weight_strides)
    copied = _copied_numel(shape, strides, weight, weight_strides, last) * itemsize
    out_channels = weight[1] * groups
    is_large = groups > 1 or all(k > 3 for k in weight[-2:]) or shape[0] > 1 or prod(shape[:4]) > _SMALL_INPUT_NUMEL
    is_padded = any(p >= s for p, s in zip(output_padding, stride, strict=True))
    if kernels.onednn is Onednn.OFF or is_padded or not is_large:
        columns = shape[0] * weight[1] * prod(weight[2:]) * prod(shape[2:]) * itemsize
        return copied + (columns if groups == 1 else max(columns, out_bytes))
    simd = kernels.simd
    if groups > 1:
        source = shape[0] * round_up(shape[1], simd) * prod(shape[2:])
        blocked = shape[0] * round_up(out_channels, simd) * prod(output[2:])
        weights = round_up(shape[1], simd) * weight[1] * prod(weight[2:])
        sums = booked(blocked * itemsize) if has_bias else 0
        computing = sums + (source + weights + blocked) * itemsize
        return copied + max(computing, blocked * itemsize + out_bytes) - out_bytes
    weights = shape[1] * round_up(out_channels, simd) * prod(weight[2:]) * itemsize
    computing = 2 * in_bytes + weights + out_bytes
    return copied + max(computing, 3 * out_bytes) - out_bytes


def uses_onednn(shape: Dims, conv: ConvShape, dtype: str, kernels: CpuKernels) -> bool:
    """Whether ATen takes oneDNN for a convolution on one thread."""
    if dtype != "float32" or not kernels.takes(dtype):
        return kernels.takes(dtype)
    is_worth_it = (
        any(s != 1 for s in conv.stride)
        or any(d != 1 for d in conv.dilation)
        or shape[0] >= _LARGE_BATCH
        or any(k != 1 for k in conv.kernel[-2:])
    )
    is_large = (
        conv.groups > 1 or all(k > 3 for k in conv.kernel[-2:]) or shape[0] > 1 or prod(shape[:4]) > _SMALL_INPUT_NUMEL
    )
    return is_worth_it and is_large


def _slow_bytes(conv: ConvShape, out_bytes: int, itemsize: int, last: bool) -> int:
    """Bytes of the im2col kernels: all images' columns at once; with groups, one group at a time, joined at the end."""
    plain = all(k == 1 for k in conv.kernel) and all(s == 1 for s in conv.stride) and not any(conv.padding)
    dilated = any(d != 1 for d in conv.dilation)
    images = 1 if dilated else conv.batch  # slow_conv_dilated goes image by image
    columns = 0 if plain else images * conv.ic * prod(conv.kernel) * prod(conv.output) * itemsize
    if len(conv.kernel) == 3 and not dilated:  # slow_conv3d takes all groups at once
        return columns * conv.groups
    if conv.groups == 1:
        return columns
    # Every group reads a copy of its channels where they do not lie together, and its output waits for the others'.
    apart = conv.batch > 1 or last
    group = conv.batch * conv.ic * prod(conv.input) * itemsize if apart else 0
    return max(columns + group, out_bytes)


def _copied_numel(shape: Dims, strides: Dims, weight: Dims, weight_strides: Dims, last: bool) -> int:
    """Elements of input and weight that do not lie in the format in which the convolution works."""
    fits = is_channels_last if last else is_contiguous
    return (0 if fits(shape, strides) else prod(shape)) + (0 if fits(weight, weight_strides) else prod(weight))


def _planar(shape: Dims) -> Dims:
    return (*shape[:2], 1, shape[2])


def _planar_strides(stride: Dims) -> Dims:
    return (*stride[:2], stride[2], stride[2])
