"""A plan within a capacity by depth-first search from the bottom up: for arenas where a greedy plan is just too large.

The search of MiniMalloc (Moffitt, ASPLOS 2023), on arrays: buffers are placed by ascending offset, each on top of what
is below it in some part of its life, so that every solution is met once and pushed down. A partial plan is given up
where the buffers still to come cannot fit over the lowest place left to them at some operator, and where it leaves a
gap that one of them would have filled. Where nobody is left who lives across an operator, both sides are apart.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum, auto

import numpy as np
import numpy.typing as npt

from edgebudget.planning.interface import ArenaPlan, Buffer
from edgebudget.planning.lifetimes import align, lower_bound

_Array = npt.NDArray[np.int64]

# By total, area and width in turn, as MiniMalloc's own, and by total, overlaps and the smaller size: each finds in
# seconds what the others miss in minutes, so that one more loses little.
ORDERS = ("TAW", "TWA", "WAT", "TOS")
FIRST_NODES = 2  # of the first attempt at each order, for each buffer; each attempt after it has twice as many
_FRAMES_PER_BUFFER = 4  # place, put, go_on, and solve where time falls apart


class _Found(Enum):
    YES = auto()
    NO = auto()
    SPENT = auto()


def search_within(
    buffers: Sequence[Buffer], capacity_bytes: int, seconds: float, alignment: int = 1
) -> ArenaPlan | None:
    """Return a plan of at most `capacity_bytes`; None where there is none, or none was found within `seconds`.

    The answer is the same each time, but for where the clock stops it. Keeps a table of all pairs: for thousands of
    buffers, not for more.
    """
    sizes = [align(b.nbytes, alignment) for b in buffers]
    sized = [Buffer(i, sizes[i], b.first, b.last) for i, b in enumerate(buffers) if sizes[i] and b.first <= b.last]
    if max(sizes, default=0) > capacity_bytes or lower_bound(sized) > capacity_bytes:
        return None
    offsets = [0] * len(buffers)
    if sized:
        with _deep(_FRAMES_PER_BUFFER * len(sized)):
            found = _Search(sized, capacity_bytes, seconds).run()
        if found is None:
            return None
        for buffer, offset in zip(sized, found, strict=True):
            offsets[buffer.id] = offset
    return ArenaPlan(
        tuple(buffers), tuple(offsets), max((o + s for o, s in zip(offsets, sizes, strict=True)), default=0)
    )


@contextmanager
def _deep(frames: int) -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(before + frames)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


class _Search:
    """The state of a search: what is placed, and below what nobody else can go."""

    def __init__(self, buffers: Sequence[Buffer], capacity: int, seconds: float) -> None:
        moments = sorted({b.first for b in buffers})  # between two beginnings nobody new is met
        section = {moment: i for i, moment in enumerate(moments)}
        self.size = np.array([b.nbytes for b in buffers], np.int64)
        self.low = np.array([section[b.first] for b in buffers])
        self.high = np.searchsorted(np.array(moments), np.array([b.last for b in buffers]), side="right")
        self.width = np.array([b.last - b.first + 1 for b in buffers], np.int64)
        self.meets = (self.low[:, None] < self.high) & (self.low < self.high[:, None])
        np.fill_diagonal(self.meets, False)
        cells = np.arange(len(moments))
        self.alive = (self.low[:, None] <= cells) & (cells < self.high[:, None])
        self.capacity = capacity
        self.deadline = time.monotonic() + seconds
        self.free = np.ones(len(buffers), bool)
        self.lowest = np.zeros(len(buffers), np.int64)  # the least offset of each
        self.floor = np.zeros(len(moments), np.int64)  # of each section: nobody to come starts below
        self.total = (self.alive * self.size[:, None]).sum(0)  # of each section: bytes to come
        self.across = (self.alive[:, :-1] & self.alive[:, 1:]).sum(0)  # to come, on both sides of each border
        self.offsets = np.zeros(len(buffers), np.int64)
        self.nodes = 0

    def run(self) -> list[int] | None:
        limit = FIRST_NODES * len(self.size)
        while True:
            for order in ORDERS:
                self.nodes = limit
                found = self.solve(np.arange(len(self.size)), 0, len(self.floor), order)
                if found is _Found.YES:
                    return [int(o) for o in self.offsets]
                if found is _Found.NO or time.monotonic() > self.deadline:
                    return None
            limit *= 2

    def solve(self, who: _Array, low: int, high: int, order: str) -> _Found:
        """Place `who`, all that is alive in the sections `low` to `high` and nowhere else, ranked by `order`."""
        totals = np.where(self.alive[who, low:high], self.total[low:high], 0).max(1)
        width, size, overlaps = self.width[who], self.size[who], self.meets[who].sum(1)
        keys = {"W": width, "A": width * size, "T": totals, "O": overlaps, "S": -size}
        ranked = who[np.lexsort([-keys[letter] for letter in reversed(order)])]
        return self.place(ranked, low, high, order, 0, -1)

    def place(self, who: _Array, low: int, high: int, order: str, least: int, after: int) -> _Found:
        """Place all of `who`: at `least` and those ranked beyond `after`, or higher."""
        if self.nodes <= 0 or time.monotonic() > self.deadline:
            return _Found.SPENT
        self.nodes -= 1
        ranks = np.flatnonzero(self.free[who])
        if not len(ranks):
            return _Found.YES
        left = who[ranks]
        lowest = self.lowest[left]
        # beyond it somebody would have fitted below, or what is to come would not fit above
        ceiling = min((lowest + self.size[left]).min(), self.capacity + 1 - self.total[low:high].max())
        turn = np.argsort(lowest, kind="stable")
        for k in turn:
            offset = int(lowest[k])
            if offset >= ceiling:
                break
            rank = int(ranks[k])
            if offset < least or (offset == least and rank < after):
                continue
            found = self.put(int(left[k]), offset, who, low, high, order, rank)
            if found is not _Found.NO:
                return found
            if not (self.meets[left[k]] & self.free).any():
                break  # nothing stands on this one: where it is changes nothing for the others
        return _Found.NO

    def put(self, one: int, offset: int, who: _Array, low: int, high: int, order: str, rank: int) -> _Found:
        """Place `one` at `offset` and go on; after that all is as it was, but for the offsets that were found."""
        start, end = self.low[one], self.high[one]
        lowest, floor = self.lowest, self.floor[low:high].copy()
        top = offset + int(self.size[one])
        self.free[one] = False
        self.offsets[one] = offset
        self.lowest = np.where(self.meets[one] & self.free, np.maximum(lowest, top), lowest)
        self.total[start:end] -= self.size[one]
        self.floor[start:end] = top
        found = _Found.NO
        above = np.flatnonzero(self.meets[one] & self.free)
        if len(above):  # nobody starts below the lowest that those alive in a section can go
            first, last = self.low[above].min(), self.high[above].max()
            left = who[self.free[who]]
            span = self.alive[left, first:last]
            rest = np.where(span, self.lowest[left][:, None], self.capacity + 1).min(0)
            here = self.floor[first:last]
            np.maximum(here, np.where(rest > self.capacity, here, rest), out=here)
        if (np.maximum(self.floor[low:high], offset) + self.total[low:high]).max() <= self.capacity:
            found = self.go_on(one, who, low, high, order, offset, rank)
        self.free[one] = True
        self.lowest = lowest
        self.floor[low:high] = floor
        self.total[start:end] += self.size[one]
        return found

    def go_on(self, one: int, who: _Array, low: int, high: int, order: str, offset: int, rank: int) -> _Found:
        start, end = int(self.low[one]), int(self.high[one])
        borders = self.across[start : end - 1]
        borders -= 1
        cuts = [start + 1 + int(cut) for cut in np.flatnonzero(borders == 0)]
        found = _Found.YES
        if not cuts:
            found = self.place(who, low, high, order, offset, rank)
        else:
            for left, right in zip([low, *cuts], [*cuts, high], strict=True):
                part = who[self.free[who] & (self.low[who] < right) & (left < self.high[who])]
                if len(part):
                    found = self.solve(part, left, right, order)
                    if found is not _Found.YES:
                        break
        borders += 1
        return found
