"""Where an operator's output lies differently in memory on the CPU than its shape rule on meta says.

Strides decide whether a later `reshape` or `contiguous` copies, so they change the peak.
"""

from collections.abc import Sequence

import torch


def eager_strides(target: str, args: Sequence[object], out: torch.Tensor) -> tuple[int, ...]:
    """Return the strides that the CPU kernel of `target` gives `out`; those of `out` where nothing else is known.

    `scaled_dot_product_attention`: the flash kernel for the CPU (ATen/native/cpu/FlashAttentionKernel.cpp) lays its
    output out as the query. On meta the reference decomposition runs, whose output is contiguous; so it does on the CPU
    where the flash kernel does not take the inputs (`use_flash_attention_cpp` in
    ATen/native/transformers/sdp_utils_cpp.cpp).
    """
    if target == "aten.scaled_dot_product_attention.default":
        query, key, value = args[:3]
        if (
            isinstance(query, torch.Tensor)
            and isinstance(key, torch.Tensor)
            and isinstance(value, torch.Tensor)
            and _takes_flash(query, key, value)
        ):
            return torch.empty_like(query).stride()
    return out.stride()


def _takes_flash(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> bool:
    return (
        query.dim() == key.dim() == value.dim() == 4
        and query.size(0) == key.size(0) == value.size(0)
        and query.size(3) == key.size(3) == value.size(3)
        and query.size(2) > 0
        and key.size(2) > 0
        and all(tensor.stride(3) == 1 for tensor in (query, key, value))
    )
