"""Where an operator's output lies differently in memory on the CPU than its shape rule on meta says.

Strides decide whether a later `reshape` or `contiguous` copies, so they change the peak.
"""

from collections.abc import Sequence
from typing import Any

import torch

from edgebudget.eager import suggests_channels_last, takes_flash

_META = torch.device("meta")
_CONVOLUTIONS = frozenset(
    f"aten.{name}"
    for name in (
        *(f"conv{dims}d.{overload}" for dims in (1, 2, 3) for overload in ("default", "padding")),
        *("conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input"),
    )
)
_OF_SUGGESTED_FORMAT = frozenset(f"aten.{name}.default" for name in ("batch_norm", "pixel_shuffle", "channel_shuffle"))


def eager_strides(target: str, out: torch.Tensor, args: Sequence[object]) -> tuple[int, ...]:
    """Return the strides that the CPU kernel of `target` gives `out`; those of `out` where nothing else is known.

    `scaled_dot_product_attention`: the flash kernel for the CPU (ATen/native/transformers/attention.cpp) makes its
    output like the query. On meta the reference decomposition runs, whose output is contiguous.

    Convolutions: ATen's CPU backends work in channels last where the input or the weight suggests it
    (ATen/native/ConvUtils.h, `mkldnn_conv_use_channels_last`, `thnn_conv_use_channels_last`); on meta the output keeps
    the input's format only for some shapes. Those over one dimension copy an input that is not row-major
    (Convolution.cpp, "avoid accidentally going through NHWC for permuted 3d input"); that their weight is permuted is
    not looked at.

    Batch norm, padding by values of the image, shuffles and roll make their output in the format that the input
    suggests (a roll by nothing copies to row-major), and `max_pool1d` in row-major order; on meta they keep the
    input's order, or lose it.
    """
    first = args[0] if args else None
    if not isinstance(first, torch.Tensor):
        return out.stride()
    if target == "aten.scaled_dot_product_attention.default" and out.shape == first.shape and _takes_flash(args):
        return torch.empty_like(first, device=_META).stride()
    if target in _CONVOLUTIONS and isinstance(args[1], torch.Tensor):
        return _convolved(out, first, args[1])
    if target in _OF_SUGGESTED_FORMAT or (target == "aten.pad.default" and args[2:3] in (("reflect",), ("replicate",))):
        return _in_format(out, _suggests_channels_last(first))
    if target == "aten.roll.default":
        return _in_format(out, _suggests_channels_last(first) and _moves_everywhere(first, *args[1:]))
    if target == "aten.max_pool1d.default":
        return _in_format(out, channels_last=False)
    return out.stride()


def _convolved(out: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> tuple[int, ...]:
    if x.dim() < weight.dim():  # without a batch
        return _convolved(out.unsqueeze(0), x.unsqueeze(0), weight)[1:]
    return _in_format(out, _suggests_channels_last(x) or _suggests_channels_last(weight))


def _moves_everywhere(x: torch.Tensor, shifts: Any, dims: Any = ()) -> bool:
    return bool(dims) and all(x.shape[dim] and shift % x.shape[dim] for shift, dim in zip(shifts, dims, strict=True))


def _suggests_channels_last(tensor: torch.Tensor) -> bool:
    return suggests_channels_last(tuple(tensor.shape), tensor.stride())


def _in_format(out: torch.Tensor, channels_last: bool) -> tuple[int, ...]:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    memory_format = formats[out.dim()] if channels_last else torch.contiguous_format
    return torch.empty(out.shape, device=_META, memory_format=memory_format).stride()


def _takes_flash(args: Sequence[object]) -> bool:
    query, key, value, *rest = args
    if not (isinstance(query, torch.Tensor) and isinstance(key, torch.Tensor) and isinstance(value, torch.Tensor)):
        return False
    shapes = [tuple(t.shape) for t in (query, key, value)]
    mask = tuple(rest[0].shape) if rest and isinstance(rest[0], torch.Tensor) else None
    last_strides = (query.stride(-1), key.stride(-1), value.stride(-1))
    return takes_flash(shapes[0], shapes[1], shapes[2], last_strides, mask)
