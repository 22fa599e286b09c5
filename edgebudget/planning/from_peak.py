"""From the busiest operator outwards, best fit: for any number of buffers, however long they live."""

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TypeAlias

from edgebudget.planning.interface import ArenaPlan, Buffer
from edgebudget.planning.lifetimes import align, busiest

_Span: TypeAlias = tuple[int, int, int]  # (first, last, index of a buffer)


def from_peak(buffers: Sequence[Buffer], alignment: int = 1) -> ArenaPlan:
    """Return the plan that stacks what is alive at the busiest operator and goes from there to both ends of time.

    The stack has no holes, the longest-lived lowest. From there on everything that is met is met as its life begins,
    so that what is free is a list of gaps, and the smallest that is large enough is taken; backwards likewise, ends
    for beginnings. What stands on one side of the stack never meets what stands on the other. Takes n log n time.

    The order of time is that of best-fit allocators; that a stack at the peak is free of holes is what keeps it near
    the bound where many live long.
    """
    sizes = [align(buffer.nbytes, alignment) for buffer in buffers]
    spans = [(b.first, b.last, i) for i, b in enumerate(buffers) if sizes[i] and b.first <= b.last]
    peak, most = busiest((i, sizes[i], first, last) for first, last, i in spans)
    before: list[_Span] = []
    standing: list[_Span] = []
    after: list[_Span] = []
    for span in spans:
        first, last, _ = span
        (after if first > peak else before if last < peak else standing).append(span)
    standing.sort(key=lambda span: span[0] - span[1])
    order = [i for _, _, i in standing]
    ends = list(accumulate((sizes[i] for i in order), initial=0))
    offsets = [0] * len(buffers)
    for i, offset in zip(order, ends, strict=False):
        offsets[i] = offset
    forwards = _fill(standing, after, sizes, offsets, most)
    backwards = _fill(_reversed(standing), _reversed(before), sizes, offsets, most)
    return ArenaPlan(tuple(buffers), tuple(offsets), max(forwards, backwards, max(sizes, default=0)))


def _reversed(spans: Iterable[_Span]) -> list[_Span]:
    return [(-last, -first, i) for first, last, i in spans]


def _fill(
    standing: Sequence[_Span], coming: Sequence[_Span], sizes: Sequence[int], offsets: list[int], top: int
) -> int:
    """Place `coming` over what is `standing` up to `top`, by beginning and then size; return where the arena ends."""
    leaving = sorted([(last, i) for _, last, i in (*standing, *coming)], reverse=True)
    gaps = _Gaps(top, sum(sizes))
    for first, _, i in sorted(coming, key=lambda span: (span[0], -sizes[span[2]])):
        while leaving[-1][0] < first:
            gone = leaving.pop()[1]
            gaps.release(offsets[gone], sizes[gone])
        offsets[i] = gaps.take(sizes[i])
    return gaps.top


class _Gaps:
    """What is free below `top`: no two gaps touch."""

    def __init__(self, top: int, most: int) -> None:
        self.top = top
        self._bits = most.bit_length()  # of any address: `most` is where no arena reaches beyond
        self._by_size: list[int] = []  # bytes and, below them, start: as one number each, ascending
        self._ends: dict[int, int] = {}  # of each gap, by its start
        self._starts: dict[int, int] = {}  # and the other way round

    def take(self, size: int) -> int:
        """Return the start of the smallest gap with room for `size`, the top raised where there is none."""
        place = bisect_left(self._by_size, size << self._bits)
        if place == len(self._by_size):
            start = self._starts.get(self.top, self.top)
            if start < self.top:
                self._remove(start, self.top)
            self.top = start + size
            return start
        start = self._by_size.pop(place) & (1 << self._bits) - 1
        end = self._ends.pop(start)
        if end > start + size:
            self._add(start + size, end)
        else:
            del self._starts[end]
        return start

    def release(self, start: int, size: int) -> None:
        """Make `size` bytes from `start` free, and one with the gaps beside them."""
        end = start + size
        below, above = self._starts.get(start), self._ends.get(end)
        if below is not None:
            self._remove(below, start)
            start = below
        if above is not None:
            self._remove(end, above)
            end = above
        self._add(start, end)

    def _add(self, start: int, end: int) -> None:
        self._ends[start] = end
        self._starts[end] = start
        insort(self._by_size, end - start << self._bits | start)

    def _remove(self, start: int, end: int) -> None:
        del self._ends[start], self._starts[end]
        del self._by_size[bisect_left(self._by_size, end - start << self._bits | start)]
