"""Where an operator's output lies differently in memory on the CPU than its shape rule on meta says.

Strides decide whether a later `reshape` or `contiguous` copies, so they change the peak.
"""

import torch


def eager_strides(target: str, out: torch.Tensor) -> tuple[int, ...]:
    """Return the strides that the CPU kernel of `target` gives `out`; those of `out` where nothing else is known.

    `scaled_dot_product_attention`: the flash kernel for the CPU (ATen/native/cpu/FlashAttentionKernel.cpp) writes
    [batch, sequence, heads, head_dim] and returns it with sequence and heads transposed. On meta the reference
    decomposition runs, whose output is contiguous.
    """
    if target == "aten.scaled_dot_product_attention.default" and out.dim() == 4 and out.is_floating_point():
        _, heads, sequence, head_dim = out.shape
        return (sequence * heads * head_dim, head_dim, heads * head_dim, 1)
    return out.stride()
