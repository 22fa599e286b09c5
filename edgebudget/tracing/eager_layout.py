"""Where an operator's output lies differently in memory on the CPU than its shape rule on meta says.

Strides decide whether a later `reshape` or `contiguous` copies, so they change the peak.
"""

from collections.abc import Sequence

import torch


def eager_strides(target: str, args: Sequence[object], out: torch.Tensor) -> tuple[int, ...]:
    """Return the strides that the CPU kernel of `target` gives `out`; those of `out` where nothing else is known.

    `scaled_dot_product_attention`: the flash kernel for the CPU (ATen/native/cpu/FlashAttentionKernel.cpp) writes
    [batch, sequence, heads, head_dim] and returns it with sequence and heads transposed. On meta the reference
    decomposition runs, whose output is contiguous; it runs on the CPU too where the flash kernel does not take the
    inputs (`use_flash_attention_cpp` in ATen/native/transformers/sdp_utils_cpp.cpp).
    """
    if target == "aten.scaled_dot_product_attention.default" and _takes_flash(args):
        _, heads, sequence, head_dim = out.shape
        return (sequence * heads * head_dim, head_dim, heads * head_dim, 1)
    return out.stride()


def _takes_flash(args: Sequence[object]) -> bool:
    query, key, value = (arg for arg in args[:3] if isinstance(arg, torch.Tensor))
    mask = args[3] if len(args) > 3 else None
    return (
        query.dim() == key.dim() == value.dim() == 4
        and query.size(3) == key.size(3) == value.size(3)
        and query.size(2) > 0 < key.size(2)
        and all(tensor.stride(3) == 1 for tensor in (query, key, value))
        and (mask is None or (isinstance(mask, torch.Tensor) and mask.dim() in (2, 4)))
    )
