"""What glibc's malloc hands out for a request, and which pages a process keeps of what it frees.

Read in glibc 2.36's malloc/malloc.c and checked against the library in tests/test_glibc.py: `request2size`,
`sysmalloc_mmap`, `_mid_memalign` for sizes; `_int_malloc`, `_int_memalign`, `_int_free`, `sysmalloc` and `systrim` for
pages.
"""

from bisect import bisect_left, insort
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

PAGE_BYTES = 4096
MAPPED_FROM_BYTES = 128 * 1024  # DEFAULT_MMAP_THRESHOLD, where M_MMAP_THRESHOLD starts
MAPPED_AT_MOST_BYTES = 32 << 20  # DEFAULT_MMAP_THRESHOLD_MAX: freeing no larger block moves the threshold
PAD_BYTES = 128 * 1024  # DEFAULT_TOP_PAD: what the heap is grown by beyond a request, and keeps at its top
CACHED_COUNT = 7  # TCACHE_FILL_COUNT
CONSOLIDATED_FROM_BYTES = 64 * 1024  # FASTBIN_CONSOLIDATION_THRESHOLD: freeing less never trims the top

Spares: TypeAlias = Mapping[int, tuple[int, int]]
"""By size of chunk: how many small blocks take out of its cache, and how many are in it whatever they take."""


def _up(nbytes: int, grain: int) -> int:
    return -(-nbytes // grain) * grain


def chunk_bytes(nbytes: int, pointer_bytes: int = 8) -> int:
    """Return the size of the chunk for a request of `nbytes`, its header included."""
    return max(4 * pointer_bytes, nbytes + 3 * pointer_bytes - 1 & -2 * pointer_bytes)


def usable_bytes(nbytes: int, alignment: int = 0, pointer_bytes: int = 8) -> int:
    """Return `malloc_usable_size` of a block of `nbytes` from malloc, or from posix_memalign with `alignment`.

    Blocks from 128 KiB on are mapped, in whole pages: so a process starts, and stays until it frees one.
    """
    grain = 2 * pointer_bytes
    chunk = chunk_bytes(nbytes, pointer_bytes)
    aligned = alignment > grain
    asked = chunk_bytes(chunk + alignment + 2 * grain, pointer_bytes) if aligned else chunk
    if asked < MAPPED_FROM_BYTES:
        return chunk - pointer_bytes
    return _up(asked + pointer_bytes, PAGE_BYTES) - (alignment if aligned else grain)


@dataclass(slots=True, eq=False)
class Block:
    """What malloc gave out: where its chunk lies in the heap, or -1 where it is mapped on its own."""

    start: int
    chunk_nbytes: int
    usable_nbytes: int
    written_nbytes: int  # of a mapped block: how far it was written to
    companion: tuple[int, int] | None = None  # the small chunk that is freed with it: start and size


class Heap:
    """One process's malloc on a 64-bit machine, from an empty heap: what is live, and which pages are resident.

    `start` is where the heap begins, by which it stands otherwise modulo an alignment.

    Blocks are written to as they are made, whole unless `malloc` is told otherwise. Every size in bytes. The caches of
    small blocks change no page and are left out, but for one effect: the ends that an aligned block is cut to go into
    them, seven of a size, and what is freed beside such an end later does not join over it. Small blocks use them up.
    """

    def __init__(self, mapped_from_bytes: int = MAPPED_FROM_BYTES, start: int = 0) -> None:
        self.mapped_from_bytes = mapped_from_bytes
        self._trimmed_from_bytes = 128 * 1024 if mapped_from_bytes == MAPPED_FROM_BYTES else 2 * mapped_from_bytes
        self.live_nbytes = self.peak_live_nbytes = 0
        self.resident_nbytes = self.peak_resident_nbytes = 0
        self._top = start  # where the last, unbounded chunk starts
        self._end = start  # the break
        self._free_by_size: list[tuple[int, int]] = []  # (size, start)
        self._free: dict[int, int] = {}  # start -> size
        self._free_ends: dict[int, int] = {}  # end -> start
        self._aside: dict[int, int] = {}  # ends of aligned blocks in the cache: size -> how many
        self._aside_full = False
        self._lead_nbytes = 0  # ends of this size are for companions, while a series of blocks is made
        self._leads: list[int] = []
        self._touched: list[tuple[int, int]] = []  # stretches below the break that were written to, by address

    def malloc(self, nbytes: int, alignment: int = 0, written_nbytes: int | None = None) -> Block:
        """Return a block of `nbytes`, of which `written_nbytes` (all unless given) are written to."""
        wanted = chunk_bytes(nbytes)
        asked = chunk_bytes(wanted + alignment + 32) if alignment else wanted
        written = min(nbytes if written_nbytes is None else written_nbytes, nbytes)
        block = self._place(asked, wanted, alignment)
        if block is None:
            mapped = _up(asked + 8, PAGE_BYTES)
            block = Block(-1, mapped, mapped - (alignment or 16), 0)
        self._count(block)
        self.write(block, written)
        return block

    def _count(self, block: Block) -> None:
        self.live_nbytes += block.usable_nbytes
        if self.live_nbytes > self.peak_live_nbytes:
            self.peak_live_nbytes = self.live_nbytes

    def malloc_in_series(self, nbytes: int, alignment: int, companion_nbytes: int) -> Block:
        """Return an aligned block, one of many in a row that are each made and freed with a small one.

        That companion takes the end that the aligned block before was cut from, where it has the size: it lies between
        two large blocks then, and keeps them apart until its own is freed. The other ends join what is beside them.
        """
        companion_chunk = chunk_bytes(companion_nbytes)
        companion = (self._leads.pop(), companion_chunk) if self._leads else None
        was_full = self._aside_full
        self._lead_nbytes, self._aside_full = companion_chunk, True
        block = self.malloc(nbytes, alignment)
        self._lead_nbytes, self._aside_full = 0, was_full
        block.companion = companion
        return block

    def write(self, block: Block, nbytes: int) -> None:
        """Write to the first `nbytes` of `block`: the pages become resident."""
        if block.start >= 0:
            self._touch(block.start, block.start + 16 + nbytes)
        elif nbytes > block.written_nbytes:
            self.resident_nbytes += _up(nbytes, PAGE_BYTES) - _up(block.written_nbytes, PAGE_BYTES)
            block.written_nbytes = nbytes
        if self.resident_nbytes > self.peak_resident_nbytes:
            self.peak_resident_nbytes = self.resident_nbytes

    def free(self, block: Block) -> None:
        """Take `block` back: a mapped one returns its pages and moves the threshold, another may trim the top."""
        self.live_nbytes -= block.usable_nbytes
        if block.start < 0:
            self.resident_nbytes -= _up(block.written_nbytes, PAGE_BYTES)
            if self.mapped_from_bytes < block.chunk_nbytes <= MAPPED_AT_MOST_BYTES:
                self.mapped_from_bytes = block.chunk_nbytes
                self._trimmed_from_bytes = 2 * block.chunk_nbytes
        elif self._release(block.start, block.chunk_nbytes) >= CONSOLIDATED_FROM_BYTES:
            self._trim()
        if block.companion is not None:
            self._release(*block.companion)

    def hold(self, nbytes: int, spares: Spares = MappingProxyType({})) -> list[Block]:
        """Return blocks of a page and less that take `nbytes` together: what a program keeps in small ones.

        They fill the smallest holes first, and use up what is in the caches, but of the sizes in `spares` only as many
        as that says, down to what it says is always there.
        """
        self._aside = {size: max(self._aside.get(size, 0) - taken, least) for size, (taken, least) in spares.items()}
        self._aside_full = False
        blocks = []
        left = nbytes // 16 * 16
        while left >= 32:
            blocks.append(self._fill(min(left, PAGE_BYTES)))
            left -= blocks[-1].chunk_nbytes
        return blocks

    def _fill(self, nbytes: int) -> Block:
        """Return a block of `nbytes` at most where small ones go: in the smallest hole, else at the top."""
        start, size = self._cut(0, nbytes) if self._free_by_size else (self._take_top(nbytes), nbytes)
        block = Block(start, size, size - 8, 0)
        self._count(block)
        self.write(block, block.usable_nbytes)
        return block

    def reset_peaks(self) -> None:
        """Let both peaks begin at what is there now."""
        self.peak_live_nbytes, self.peak_resident_nbytes = self.live_nbytes, self.resident_nbytes

    def fill_caches(self) -> None:
        """Let the caches be full, as many small blocks leave them when they are freed: until `hold` uses them up."""
        self._aside_full = True

    def set_caches(self, counts: Mapping[int, int]) -> None:
        """Let the caches of these sizes hold so many blocks, as small blocks that came and went left them."""
        self._aside |= counts

    def _place(self, asked: int, wanted: int, alignment: int) -> Block | None:
        """Cut an aligned block out of a chunk of `asked`, and put its ends aside; None where it is to be mapped."""
        start = self._take(asked)
        if start < 0:
            return None
        lead, kept = _aligned(start, asked, wanted, alignment)
        for size, at in ((lead, start), (asked - lead - kept, start + lead + kept)):
            if size:
                self._put_aside(at, size)
        return Block(start + lead, kept, kept - 8, 0)

    def _put_aside(self, start: int, size: int) -> None:
        if size == self._lead_nbytes:
            self._leads.append(start)
        elif not self._aside_full and self._aside.get(size, 0) < CACHED_COUNT:
            self._aside[size] = self._aside.get(size, 0) + 1
        else:
            self._release(start, size)

    def _take(self, asked: int) -> int:
        """Return where a chunk of `asked` starts: the free one that fits best, the top, a grown top; -1 for mapped."""
        at = bisect_left(self._free_by_size, (asked, -1))
        if at < len(self._free_by_size):
            return self._cut(at, asked)[0]
        return self._take_top(asked)

    def _cut(self, at: int, nbytes: int) -> tuple[int, int]:
        """Take a chunk of `nbytes` from the free one at a place by size: return where it starts, and its size, which is
        that of the whole where too little for a chunk would be left."""
        size, start = self._free_by_size[at]
        self._forget(start, size)
        if size - nbytes < 32:
            return start, size
        self._remember(start + nbytes, size - nbytes)
        return start, nbytes

    def _take_top(self, asked: int) -> int:
        if self._end - self._top < asked + 32:
            if asked >= self.mapped_from_bytes:
                return -1
            self._end += _up(asked + PAD_BYTES + 32 - (self._end - self._top), PAGE_BYTES)
        start = self._top
        self._top += asked
        return start

    def _release(self, start: int, size: int) -> int:
        """Join a chunk with its free neighbours, or the top; return the size of what came of it."""
        before = self._free_ends.get(start)
        if before is not None:
            size += self._free[before]
            self._forget(before, self._free[before])
            start = before
        after = self._free.get(start + size)
        if after is not None:
            self._forget(start + size, after)
            size += after
        if start + size == self._top:
            self._top = start
            return self._end - start
        self._remember(start, size)
        return size

    def _remember(self, start: int, size: int) -> None:
        insort(self._free_by_size, (size, start))
        self._free[start] = size
        self._free_ends[start + size] = start

    def _forget(self, start: int, size: int) -> None:
        del self._free_by_size[bisect_left(self._free_by_size, (size, start))]
        del self._free[start]
        del self._free_ends[start + size]

    def _trim(self) -> None:
        top = self._end - self._top
        if top < self._trimmed_from_bytes:
            return
        extra = (top - 33 - PAD_BYTES) // PAGE_BYTES * PAGE_BYTES
        if extra <= 0:
            return
        self._end -= extra
        while self._touched and self._touched[-1][1] > self._end:
            start, stop = self._touched.pop()
            if start < self._end:
                self._touched.append((start, self._end))
            self.resident_nbytes -= stop - max(start, self._end)

    def _touch(self, start: int, stop: int) -> None:
        start, stop = start // PAGE_BYTES * PAGE_BYTES, _up(stop, PAGE_BYTES)
        if self._touched and self._touched[0][0] <= start and stop <= self._touched[0][1]:
            return  # as most of what a process has written to is in one piece
        first = bisect_left(self._touched, (start, -1))
        if first and self._touched[first - 1][1] >= start:
            first -= 1
        last = first
        while last < len(self._touched) and self._touched[last][0] <= stop:
            one, other = self._touched[last]
            self.resident_nbytes -= other - one
            start, stop = min(start, one), max(stop, other)
            last += 1
        self._touched[first:last] = [(start, stop)]
        self.resident_nbytes += stop - start


def _aligned(start: int, asked: int, wanted: int, alignment: int) -> tuple[int, int]:
    """Return how far into a chunk an aligned block begins, and how large it is."""
    lead = -(start + 16) % alignment if alignment else 0
    lead += alignment if 0 < lead < 32 else 0
    return lead, wanted if asked - lead - wanted > 32 else asked - lead


class JoiningHeap(Heap):
    """The heap of a process in which no small block takes the end of an aligned block.

    What lies between two freed blocks is free then: holes join, and nothing can keep less.
    """

    def malloc_in_series(self, nbytes: int, alignment: int, companion_nbytes: int) -> Block:
        """Return an aligned block: its companion lies elsewhere."""
        return self.malloc(nbytes, alignment)

    def _place(self, asked: int, wanted: int, alignment: int) -> Block | None:
        """Cut an aligned block out of a chunk whose neighbours are in use: what is left of it is in two pieces."""
        at = bisect_left(self._free_by_size, (asked, -1))
        if at < len(self._free_by_size):
            size, start = self._free_by_size.pop(at)
            del self._free[start], self._free_ends[start + size]
            lead, kept = _aligned(start, asked, wanted, alignment)
            behind = asked - lead - kept + (size - asked if size - asked >= 32 else 0)
            if behind:
                self._remember(start + lead + kept, behind)
        else:
            start = self._take_top(asked)
            if start < 0:
                return None
            lead, kept = _aligned(start, asked, wanted, alignment)
            self._top = start + lead + kept
        if lead:
            self._remember(start, lead)
        return Block(start + lead, kept, kept - 8, 0)


class ApartHeap(Heap):
    """The heap of a process in which small blocks take every end they can, and stay: nothing can keep more.

    Those of blocks made in a series are taken for good, so that no hole that such a block leaves is large enough for
    the next; of others the caches hold seven of a size, and what small blocks left there before is none.
    """

    _in_series = False

    def malloc_in_series(self, nbytes: int, alignment: int, companion_nbytes: int) -> Block:
        """Return an aligned block: small ones that stay lie on both sides of it."""
        self._in_series = True
        block = self.malloc(nbytes, alignment)
        self._in_series = False
        return block

    def hold(self, nbytes: int, spares: Spares = MappingProxyType({})) -> list[Block]:
        """Return small blocks, which take all that is in the caches."""
        return super().hold(nbytes)

    def fill_caches(self) -> None:
        """Leave the caches as they are: what is freed elsewhere goes elsewhere."""

    def set_caches(self, counts: Mapping[int, int]) -> None:
        """Leave the caches as they are."""

    def _put_aside(self, start: int, size: int) -> None:
        if not self._in_series:
            super()._put_aside(start, size)


class MergingHeap(Heap):
    """The same since glibc 2.39, which keeps the ends of aligned blocks out of its caches.

    An end joins the free chunk beside it ("malloc: Enable merging of remainders in memalign", commit 542b1105).
    """

    def _put_aside(self, start: int, size: int) -> None:
        if size == self._lead_nbytes:
            self._leads.append(start)
        else:
            self._release(start, size)


class FilledHeap(MergingHeap):
    """The heap of a program that takes many small blocks and keeps some, since glibc 2.39.

    An end between two blocks in use is what the next small block is made of. It counts as used for good, so that what
    is freed on its two sides does not join.
    """

    def malloc_in_series(self, nbytes: int, alignment: int, companion_nbytes: int) -> Block:
        """Return an aligned block: its companion lies wherever there is room for small blocks."""
        return self.malloc(nbytes, alignment)

    def _put_aside(self, start: int, size: int) -> None:
        if start in self._free_ends or start + size in self._free or start + size == self._top:
            self._release(start, size)
