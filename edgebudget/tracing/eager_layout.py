"""Where an operator's output lies differently in memory on the CPU than its shape rule on meta says.

Strides decide whether a later `reshape` or `contiguous` copies, so they change the peak.
"""

from collections.abc import Sequence

import torch

from edgebudget.eager import suggests_channels_last, takes_flash

_META = torch.device("meta")
_CONVOLUTIONS = frozenset(("aten.conv2d.default", "aten.conv2d.padding", "aten.conv3d.default", "aten.conv3d.padding"))


def eager_strides(target: str, out: torch.Tensor, args: Sequence[object]) -> tuple[int, ...]:
    """Return the strides that the CPU kernel of `target` gives `out`; those of `out` where nothing else is known.

    `scaled_dot_product_attention`: the flash kernel for the CPU (ATen/native/transformers/attention.cpp) makes its
    output like the query. On meta the reference decomposition runs, whose output is contiguous.

    Convolutions: ATen's CPU backends work in channels last where the input or the weight suggests it
    (ATen/native/ConvUtils.h, `mkldnn_conv_use_channels_last`, `thnn_conv_use_channels_last`); on meta the output keeps
    the input's format only for some shapes.
    """
    first = args[0] if args else None
    if not isinstance(first, torch.Tensor):
        return out.stride()
    if target == "aten.scaled_dot_product_attention.default" and out.shape == first.shape and _takes_flash(args):
        return torch.empty_like(first, device=_META).stride()
    if target in _CONVOLUTIONS and out.dim() == first.dim():
        tensors = [arg for arg in args[:2] if isinstance(arg, torch.Tensor)]
        last = any(suggests_channels_last(tuple(t.shape), t.stride()) for t in tensors)
        channels_last = torch.channels_last if out.dim() == 4 else torch.channels_last_3d
        memory_format = channels_last if last else torch.contiguous_format
        return torch.empty(out.shape, device=_META, memory_format=memory_format).stride()
    return out.stride()


def _takes_flash(args: Sequence[object]) -> bool:
    query, key, value, *rest = args
    if not (isinstance(query, torch.Tensor) and isinstance(key, torch.Tensor) and isinstance(value, torch.Tensor)):
        return False
    shapes = [tuple(t.shape) for t in (query, key, value)]
    mask = tuple(rest[0].shape) if rest and isinstance(rest[0], torch.Tensor) else None
    last_strides = (query.stride(-1), key.stride(-1), value.stride(-1))
    return takes_flash(shapes[0], shapes[1], shapes[2], last_strides, mask)
