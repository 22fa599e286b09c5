"""XNNPACK's own workspace planner: src/memory-planner.c, reproduced with its rounding and its order."""

from collections.abc import Sequence
from dataclasses import dataclass

EXTRA_BYTES = 16  # XNN_EXTRA_BYTES, include/xnnpack.h: micro-kernels may read that far past the end


@dataclass(frozen=True, slots=True)
class Usage:
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
    placed: list[tuple[int, int, int, int]] = []  # first, last, start, end
    total = 0
    for i in order:
        usage = usages[i]
        first, last, nbytes = usage.first, usage.last, usage.nbytes
        live = sorted([(start, end) for f, t, start, end in placed if f <= last and first <= t])
        offset, smallest, reached = -1, -1, 0
        for start, end in live:
            gap = start - reached
            if gap >= nbytes and (smallest < 0 or gap < smallest) and gap > 0:
                offset, smallest = reached, gap
            if end > reached:
                reached = end
        if offset < 0:
            offset = reached
        offsets[i] = offset
        placed.append((first, last, offset, offset + nbytes))
        if offset + nbytes > total:
            total = offset + nbytes
    return offsets, total
