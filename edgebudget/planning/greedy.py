"""Greedy by size: the largest buffers are placed first, each as low as it goes."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from edgebudget.planning.interface import ArenaPlan, Buffer
from edgebudget.planning.lifetimes import align

LEAST_LEVEL = 4  # where a level more takes longer than a look at all who live in 16 operators

_Block: TypeAlias = tuple[int, int, int, int]  # (offset, end, first, last)


def greedy_by_size(buffers: Sequence[Buffer], alignment: int = 1) -> ArenaPlan:
    """Return the first-fit plan by descending size: each buffer at the lowest offset free over its lifetime.

    Pisarchyk and Lee, Efficient Memory Management for Deep Neural Net Inference (2020), section 5.3, with the first
    gap that is large enough where they take the smallest. Equal sizes keep the order they are given in. Takes time in
    the number of pairs of buffers that are alive together.
    """
    return first_fit(buffers, sorted(range(len(buffers)), key=lambda i: -buffers[i].nbytes), alignment)


def first_fit(buffers: Sequence[Buffer], order: Iterable[int], alignment: int = 1) -> ArenaPlan:
    """Return the plan that places the buffers in this `order` of their indices, each as low as it goes then."""
    offsets = [0] * len(buffers)
    placed = _Placed()
    total = 0
    for i in order:
        _, nbytes, first, last = buffers[i]
        size = align(nbytes, alignment)
        offset = 0
        for low, high, _, _ in placed.alive_within(first, last):
            if low >= offset + size:
                break
            if high > offset:
                offset = high
        offsets[i] = offset
        if size and first <= last:
            placed.add((offset, offset + size, first, last))
        total = max(total, offset + size)
    return ArenaPlan(tuple(buffers), tuple(offsets), total)


class _Placed:
    """Blocks by when they live: at each level, a cell holds those that live in 2**level operators from its start.

    A block is kept at the level of its own length, and none below `LEAST_LEVEL`, so that it touches two cells at most.
    What is alive over a span is then found in the span's cells at each level: in time for what is found, and a few
    cells more.
    """

    def __init__(self) -> None:
        self._levels: dict[int, defaultdict[int, list[_Block]]] = {}

    def add(self, block: _Block) -> None:
        _, _, first, last = block
        level = max((last - first).bit_length() + 1 & ~1, LEAST_LEVEL)
        cells = self._levels.get(level)
        if cells is None:
            cells = self._levels[level] = defaultdict(list)
        start, end = first >> level, last >> level
        cells[start].append(block)
        if end != start:
            cells[end].append(block)

    def alive_within(self, first: int, last: int) -> list[_Block]:
        """Return the blocks alive at some operator of `first` to `last`, by offset; one may stand there twice."""
        near: list[list[_Block]] = []
        for level, cells in self._levels.items():
            start, end = first >> level, last >> level
            if start in cells:
                near.append(cells[start])
            if end > start:
                # a span of more cells than there are is cheaper to answer from the cells
                asked = range(start + 1, end + 1) if end - start < len(cells) else cells.keys() - {start}
                near += [cells[cell] for cell in asked if cell in cells]
        found = [block for blocks in near for block in blocks if block[2] <= last and first <= block[3]]
        found.sort()
        return found
