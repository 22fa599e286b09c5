"""How oneDNN lays a convolution's tensors out when PyTorch leaves the layout to it.

Read in oneDNN 3.13: the order of implementations in `cpu_convolution_list.cpp`, their `init_conf` (which shapes each
takes, and which layouts it asks for) and `init_scratchpad`. PyTorch passes `prop_kind::forward_training` and every
layout as `any`, which leaves the direct kernels with channels in blocks of one vector register, or `gemm` over plain
layouts.
"""

from math import prod
from typing import NamedTuple

_REDUCED = 2  # bytes of bfloat16: bias and sums are held in float32 besides
_PAIRED = 2  # channels that bfloat16 products take at a time
_PAGE = 4096  # P4K, the alignment of brgemm's buffers
_SCRATCHPAD_ALIGNMENT = 128  # memory_tracking::registry_t::default_alignment, added to every entry


class ConvShape(NamedTuple):
    """A convolution without batch-independent detail: `groups` of `ic` to `oc` channels, each."""

    batch: int
    groups: int
    ic: int
    oc: int
    input: tuple[int, ...]
    output: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    has_bias: bool

    @property
    def is_pointwise(self) -> bool:
        return all(k == 1 for k in self.kernel) and not any(self.padding)


class ConvLayout(NamedTuple):
    """Elements of each tensor as oneDNN holds it, padding included; 0 where the plain tensor is used as it is."""

    source_numel: int
    weight_numel: int
    destination_numel: int
    scratchpad_bytes: int


def blocked_layout(shape: ConvShape, simd: int, itemsize: int) -> ConvLayout:
    """Return the layout that the first fitting implementation asks for, for plain (channels first) tensors."""
    taps, spatial_in, spatial_out = prod(shape.kernel), prod(shape.input), prod(shape.output)
    channels_in, channels_out = shape.groups * shape.ic, shape.groups * shape.oc
    if shape.groups > 1 and shape.ic == shape.oc == 1 and len(shape.kernel) == 2:
        blocked = round_up(channels_out, simd)
        bias = booked(blocked * 4) if shape.has_bias and (blocked != channels_out or itemsize == _REDUCED) else 0
        per_image = shape.batch * blocked
        return ConvLayout(per_image * spatial_in, blocked * taps, per_image * spatial_out, bias)
    if shape.groups == 1 and shape.is_pointwise:
        return _pointwise(shape, simd, itemsize)
    if shape.groups == 1:
        oc = round_up(shape.oc, simd)
        bias = booked(oc * itemsize) if shape.has_bias and oc != shape.oc else 0
        first = shape.ic < simd  # the first layers of a network read plain images
        ic = round_up(shape.ic, 1 if itemsize > _REDUCED else _PAIRED) if first else round_up(shape.ic, simd)
        source = 0 if first else shape.batch * ic * spatial_in
        return ConvLayout(source, oc * ic * taps, shape.batch * oc * spatial_out, bias)
    blocks = (16, 8, 4) if simd == 16 else (8,)
    if any(shape.ic % block == 0 and shape.oc % block == 0 for block in blocks):
        return ConvLayout(
            shape.batch * channels_in * spatial_in,
            channels_out * shape.ic * taps,
            shape.batch * channels_out * spatial_out,
            0,
        )
    return ConvLayout(0, 0, shape.batch * channels_out * spatial_out, _im2col_bytes(shape, itemsize))


def channels_last_layout(shape: ConvShape, simd: int) -> ConvLayout:
    """Return the layout for channels-last tensors: they are used as they are, only the weight is reordered."""
    taps = prod(shape.kernel)
    if shape.groups > 1 and shape.ic == shape.oc == 1:
        return ConvLayout(0, round_up(shape.groups, simd) * taps, 0, 0)
    return ConvLayout(0, shape.groups * shape.ic * round_up(shape.oc, simd) * taps, 0, 2 * _PAGE + 24)


def arm_layout(shape: ConvShape) -> ConvLayout:
    """Return the layout under the Arm Compute Library: channels last for plain tensors, and a reordered weight.

    Its workspaces (Winograd, packed blocks) are not known here, nor its padding of weights.
    """
    source = shape.batch * shape.groups * shape.ic * prod(shape.input)
    destination = shape.batch * shape.groups * shape.oc * prod(shape.output)
    return ConvLayout(source, shape.groups * shape.ic * shape.oc * prod(shape.kernel), destination, 0)


def _pointwise(shape: ConvShape, simd: int, itemsize: int) -> ConvLayout:
    """Lay out a 1x1 convolution; one with strides first gathers the pixels it reads (`rtus`, one image)."""
    ic, oc = round_up(shape.ic, simd), round_up(shape.oc, simd)
    spatial_in, spatial_out = prod(shape.input), prod(shape.output)
    scratchpad = booked(oc * itemsize) if shape.has_bias and oc != shape.oc else 0
    if any(s != 1 for s in shape.stride):
        scratchpad += booked(ic * spatial_out * itemsize)
    if itemsize == _REDUCED:  # sums are kept in float32 until they are stored
        scratchpad += booked(oc * spatial_out * 4)
    return ConvLayout(shape.batch * ic * spatial_in, oc * ic, shape.batch * oc * spatial_out, scratchpad)


def _im2col_bytes(shape: ConvShape, itemsize: int) -> int:
    """Bytes of the column buffer of the gemm implementation, one image and group at a time."""
    return booked(shape.ic * prod(shape.kernel) * prod(shape.output) * itemsize)


def booked(nbytes: int) -> int:
    """Return what an entry of `nbytes` takes in a oneDNN scratchpad."""
    return nbytes + _SCRATCHPAD_ALIGNMENT if nbytes else 0


def round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
