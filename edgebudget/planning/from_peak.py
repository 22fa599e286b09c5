"""From the busiest operator outwards, best fit: for any number of buffers, however long they live."""

from bisect import bisect_left, insort
from collections.abc import Sequence
from itertools import accumulate

from edgebudget.planning.interface import ArenaPlan, Buffer
from edgebudget.planning.lifetimes import align, busiest


def from_peak(buffers: Sequence[Buffer], alignment: int = 1) -> ArenaPlan:
    """Return the plan that stacks what is alive at the busiest operator and goes from there to both ends of time.

    The stack has no holes, the longest-lived lowest. From there on everything that is met is met as its life begins,
    so that what is free is a list of gaps, and the smallest that is large enough is taken; backwards likewise, ends
    for beginnings. What stands on one side of the stack never meets what stands on the other. Takes n log n time.

    The order of time is that of best-fit allocators; that a stack at the peak is free of holes is what keeps it near
    the bound where many live long.
    """
    sizes = [align(buffer.nbytes, alignment) for buffer in buffers]
    firsts, lasts = [buffer.first for buffer in buffers], [buffer.last for buffer in buffers]
    real = [i for i in range(len(buffers)) if sizes[i] and firsts[i] <= lasts[i]]
    peak, most = busiest((i, sizes[i], firsts[i], lasts[i]) for i in real)
    before = [i for i in real if lasts[i] < peak]
    after = [i for i in real if firsts[i] > peak]
    standing = sorted((i for i in real if firsts[i] <= peak <= lasts[i]), key=lambda i: firsts[i] - lasts[i])
    offsets = [0] * len(buffers)
    for i, offset in zip(standing, accumulate((sizes[i] for i in standing), initial=0), strict=False):
        offsets[i] = offset
    forwards = _fill(standing, after, firsts, lasts, sizes, offsets, most)
    backwards = _fill(standing, before, _negated(lasts), _negated(firsts), sizes, offsets, most)
    return ArenaPlan(tuple(buffers), tuple(offsets), max(forwards, backwards, max(sizes, default=0)))


def _negated(moments: Sequence[int]) -> list[int]:
    return [-moment for moment in moments]


def _fill(
    standing: Sequence[int],
    coming: Sequence[int],
    firsts: Sequence[int],
    lasts: Sequence[int],
    sizes: Sequence[int],
    offsets: list[int],
    top: int,
) -> int:
    """Place `coming` over what is `standing` up to `top`, by beginning and then size; return where the arena ends."""
    leaving = sorted((*standing, *coming), key=lasts.__getitem__, reverse=True)
    gaps = _Gaps(top, sum(sizes))
    for i in sorted(sorted(coming, key=sizes.__getitem__, reverse=True), key=firsts.__getitem__):
        first = firsts[i]
        while lasts[leaving[-1]] < first:
            gone = leaving.pop()
            gaps.release(offsets[gone], sizes[gone])
        offsets[i] = gaps.take(sizes[i])
    return gaps.top


class _Gaps:
    """What is free below `top`: no two gaps touch."""

    def __init__(self, top: int, most: int) -> None:
        self.top = top
        self._bits = most.bit_length()  # of any address: `most` is where no arena reaches beyond
        # Bytes and, below them, start: as one number each, ascending; a list for each length in bits, since what comes
        # into a list or goes takes time in its length.
        self._by_size: list[list[int]] = [[] for _ in range(self._bits + 1)]
        self._ends: dict[int, int] = {}  # of each gap, by its start
        self._starts: dict[int, int] = {}  # and the other way round

    def take(self, size: int) -> int:
        """Return the start of the smallest gap with room for `size`, the top raised where there is none."""
        length = size.bit_length()
        gaps = self._by_size[length]
        place = bisect_left(gaps, size << self._bits)
        if place == len(gaps):
            place = 0
            gaps = next(filter(None, self._by_size[length + 1 :]), [])
        if not gaps:
            start = self._starts.pop(self.top, self.top)
            if start < self.top:
                self._forget(start, self._ends.pop(start))
            self.top = start + size
            return start
        start = gaps.pop(place) & (1 << self._bits) - 1
        end = self._ends.pop(start)
        if end > start + size:
            self._add(start + size, end)
        else:
            del self._starts[end]
        return start

    def release(self, start: int, size: int) -> None:
        """Make `size` bytes from `start` free, and one with the gaps beside them."""
        end = start + size
        below, above = self._starts.pop(start, start), self._ends.pop(end, end)
        if below < start:
            self._forget(below, start)
        if above > end:
            self._forget(end, above)
        self._add(below, above)

    def _add(self, start: int, end: int) -> None:
        self._ends[start] = end
        self._starts[end] = start
        size = end - start
        insort(self._by_size[size.bit_length()], size << self._bits | start)

    def _forget(self, start: int, end: int) -> None:
        size = end - start
        gaps = self._by_size[size.bit_length()]
        del gaps[bisect_left(gaps, size << self._bits | start)]
