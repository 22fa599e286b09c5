"""XNNPACK's own workspace planner: src/memory-planner.c, reproduced with its rounding and its order."""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

EXTRA_BYTES = 16  # XNN_EXTRA_BYTES, include/xnnpack.h: micro-kernels may read that far past the end


class Usage(NamedTuple):
    """One block of the workspace, `nbytes` as rounded, used from node `first` to node `last`, both inclusive."""

    nbytes: int
    first: int
    last: int


def round_up(number: int, multiple: int) -> int:
    """Return the smallest multiple of `multiple` that is not below `number`."""
    return -(-number // multiple) * multiple


def rounded_nbytes(nbytes: int, alignment: int) -> int:
    """Return what a value or an operator's scratch of `nbytes` takes: xnn_get_rounded_size, src/xnnpack/subgraph.h."""
    return round_up(round_up(nbytes, EXTRA_BYTES), alignment)


def plan_arena(usages: Sequence[Usage]) -> tuple[list[int], int]:
    """Return the offset of each of `usages` in the arena that XNNPACK plans for them, and the arena's size in bytes.

    Largest first (a stable sort: glibc's qsort merges), each into the smallest gap that holds it between the blocks
    alive at the same time, else behind them (find_value_alloc_offset). Empty blocks take part in nothing.
    """
    order = sorted([i for i, usage in enumerate(usages) if usage.nbytes], key=lambda i: -usages[i].nbytes)
    offsets = [0] * len(usages)
    placed: list[list[tuple[int, int]]] = [[] for _ in range(max([u.last for u in usages], default=-1) + 1)]  # by node
    total = 0
    for i in order:
        nbytes, first, last = usages[i]
        offset, smallest, reached = -1, -1, 0
        for start, end in sorted(set(chain(*placed[first : last + 1]))):
            gap = start - reached
            if gap >= nbytes and (smallest < 0 or gap < smallest) and gap > 0:
                offset, smallest = reached, gap
            if end > reached:
                reached = end
        if offset < 0:
            offset = reached
        offsets[i] = offset
        block = (offset, offset + nbytes)
        for node in range(first, last + 1):
            placed[node].append(block)
        if offset + nbytes > total:
            total = offset + nbytes
    return offsets, total
