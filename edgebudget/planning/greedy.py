"""Greedy by size: the largest buffers are placed first, each as low as it goes."""

from bisect import insort
from collections.abc import Sequence

from edgebudget.planning.interface import ArenaPlan, Buffer
from edgebudget.planning.lifetimes import align


def greedy_by_size(buffers: Sequence[Buffer], alignment: int = 1) -> ArenaPlan:
    """Return the first-fit plan by descending size: each buffer at the lowest offset free over its lifetime.

    Pisarchyk and Lee, Efficient Memory Management for Deep Neural Net Inference (2020), section 5.3, with the first
    gap that is large enough where they take the smallest. Equal sizes keep the order they are given in. Takes time in
    the number of pairs of buffers that are alive together.
    """
    order = sorted(range(len(buffers)), key=lambda i: -buffers[i].nbytes)
    offsets = [0] * len(buffers)
    placed: list[tuple[int, int, int, int]] = []  # (offset, end, first, last), by offset
    total = 0
    for i in order:
        _, nbytes, first, last = buffers[i]
        size = align(nbytes, alignment)
        offset = 0
        for low, high, other_first, other_last in placed:
            if low >= offset + size:
                break
            if high > offset and first <= other_last and other_first <= last:
                offset = high
        offsets[i] = offset
        if size:
            insort(placed, (offset, offset + size, first, last))
        total = max(total, offset + size)
    return ArenaPlan(tuple(buffers), tuple(offsets), total)
