"""Eager PyTorch's rules on shapes and strides: memory formats, what a reshape can view, which kernel is taken.

Both the trace (how outputs lie) and the PyTorch runtime (what kernels copy) go by them.
"""

from collections.abc import Iterable
from itertools import pairwise

Dims = tuple[int, ...]


def is_contiguous(shape: Dims, stride: Dims) -> bool:
    """Whether elements lie in row-major order without gaps; dimensions of size 1 do not count."""
    return _lies_in(shape, stride, range(len(shape) - 1, -1, -1))


def is_channels_last(shape: Dims, stride: Dims) -> bool:
    """Whether channels (dimension 1) vary fastest, then space, then the batch, without gaps (4 and 5 dimensions)."""
    dims = len(shape)
    return dims in (4, 5) and _lies_in(shape, stride, (1, *range(dims - 1, 1, -1), 0))


def suggests_channels_last(shape: Dims, stride: Dims) -> bool:
    """Return what `Tensor::suggest_memory_format()` says, from strides alone: gaps do not matter.

    c10/core/MemoryFormat.h, `is_channels_last_strides_2d_s4` and `..._3d_s5`; ambiguous strides mean channels first.
    """
    if len(shape) not in (4, 5) or stride[1] == 0:
        return False
    least = 0
    for d in (1, *range(len(shape) - 1, 1, -1), 0):
        if shape[d] == 0 or stride[d] < least or (d == 0 and least == stride[1]):
            return False
        least = stride[d] * max(shape[d], 1)
    return True


def row_major(shape: Dims) -> Dims:
    """Return the strides of a new tensor whose last dimension varies fastest; it must have elements."""
    strides, step = [0] * len(shape), 1
    for d in range(len(shape) - 1, -1, -1):
        strides[d] = step
        step *= shape[d]
    return tuple(strides)


def is_dense(shape: Dims, stride: Dims) -> bool:
    """Whether the elements fill one block without gaps or overlap, in whatever order."""
    return _lies_in(shape, stride, sorted(range(len(shape)), key=lambda d: (stride[d], shape[d])))


def dense_strides(shape: Dims, stride: Dims) -> Dims:
    """Return the strides of a new tensor that keeps the order of dimensions of `stride`, as `empty_like` does."""
    if is_dense(shape, stride):
        return stride
    order = sorted(range(len(shape)), key=lambda d: -stride[d])
    strides, step = [0] * len(shape), 1
    for d in reversed(order):
        strides[d] = step
        step *= max(shape[d], 1)
    return tuple(strides)


def merges(shape: Dims, stride: Dims) -> bool:
    """Whether these dimensions can be viewed as one."""
    kept = [(n, s) for n, s in zip(shape, stride, strict=True) if n != 1]
    return all(outer[1] == inner[0] * inner[1] for outer, inner in pairwise(kept))


def takes_flash(query: Dims, key: Dims, value: Dims, last_strides: Dims, mask: Dims | None) -> bool:
    """Whether `scaled_dot_product_attention` takes the CPU's flash kernel rather than plain operators.

    `sdp::use_flash_attention_cpp` (ATen/native/transformers/sdp_utils_cpp.cpp): one head size, the elements of a head
    side by side in query, key and value (`last_strides`), and a mask of 2 or 4 dimensions.
    """
    heads_alike = query[-1] == key[-1] == value[-1]
    dense_heads = all(stride == 1 for stride in last_strides)
    return heads_alike and dense_heads and len(query) in (3, 4) and (mask is None or len(mask) in (2, 4))


def _lies_in(shape: Dims, stride: Dims, fastest_first: Iterable[int]) -> bool:
    expected = 1
    for d in fastest_first:
        if shape[d] != 1:
            if stride[d] != expected:
                return False
            expected *= shape[d]
    return True
