"""PyTorch's caching allocator on a CUDA GPU: blocks cut from segments that it keeps. Pure; one stream, no limit.

Constants and rules as in c10/core/AllocatorConfig.h and c10/cuda/CUDACachingAllocator.cpp of PyTorch 2.11, with the
default settings (no expandable segments, nothing rounded to powers of two).
"""

from bisect import bisect_left, insort
from dataclasses import dataclass, field

MIN_BLOCK_BYTES = 512
SMALL_BYTES = 2**20  # the largest request that comes out of a small segment
SMALL_SEGMENT_BYTES = 2 * 2**20
LARGE_SEGMENT_BYTES = 20 * 2**20
OWN_SEGMENT_BYTES = 10 * 2**20  # from here on a request has a segment to itself
SEGMENT_STEP_BYTES = 2 * 2**20


def rounded(nbytes: int) -> int:
    """Return the size of the block that a request of `nbytes` needs; a request for nothing gets no block."""
    return -(-nbytes // MIN_BLOCK_BYTES) * MIN_BLOCK_BYTES


@dataclass(eq=False, slots=True)
class Block:
    """A part of a segment, at `address`, between its neighbours in it."""

    address: int
    nbytes: int
    small: bool
    before: "Block | None" = None
    after: "Block | None" = None
    free: bool = False


@dataclass(slots=True)
class CachingAllocator:
    """What is allocated and reserved as requests come and go, and the most there was of each."""

    allocated_bytes: int = 0
    reserved_bytes: int = 0
    allocated_peak_bytes: int = 0
    reserved_peak_bytes: int = 0
    _free: dict[bool, list[tuple[int, int, Block]]] = field(default_factory=lambda: {True: [], False: []})
    _end: int = 0

    def allocate(self, nbytes: int) -> Block | None:
        """Take the smallest free block that is large enough, at the lowest address, or a new segment; None for 0."""
        needed = rounded(nbytes)
        if needed == 0:
            return None
        small = needed <= SMALL_BYTES
        pool = self._free[small]
        at = bisect_left(pool, (needed,))
        block = pool.pop(at)[2] if at < len(pool) else self._segment(needed, small)
        spare = block.nbytes - needed
        # What is left of a block stays with it where it is too little to be worth a block of its own.
        if spare >= MIN_BLOCK_BYTES if small else spare > SMALL_BYTES:
            rest = Block(block.address + needed, spare, small, before=block, after=block.after)
            if block.after is not None:
                block.after.before = rest
            block.after, block.nbytes = rest, needed
            self._put(rest)
        block.free = False
        self.allocated_bytes += block.nbytes
        if self.allocated_bytes > self.allocated_peak_bytes:
            self.allocated_peak_bytes = self.allocated_bytes
        return block

    def release(self, block: Block | None) -> None:
        """Give back what `allocate` returned: the block joins its free neighbours, and the segment is kept."""
        if block is None:
            return
        self.allocated_bytes -= block.nbytes
        before, after = block.before, block.after
        if before is not None and before.free:
            self._take(before)
            before.nbytes += block.nbytes
            before.after = after
            if after is not None:
                after.before = before
            block = before
        if after is not None and after.free:
            self._take(after)
            block.nbytes += after.nbytes
            block.after = after.after
            if after.after is not None:
                after.after.before = block
        self._put(block)

    def _segment(self, needed: int, small: bool) -> Block:
        if small:
            nbytes = SMALL_SEGMENT_BYTES
        elif needed < OWN_SEGMENT_BYTES:
            nbytes = LARGE_SEGMENT_BYTES
        else:
            nbytes = -(-needed // SEGMENT_STEP_BYTES) * SEGMENT_STEP_BYTES
        self.reserved_bytes += nbytes
        self.reserved_peak_bytes = max(self.reserved_peak_bytes, self.reserved_bytes)
        block = Block(self._end, nbytes, small)
        self._end += nbytes
        return block

    def _put(self, block: Block) -> None:
        block.free = True
        insort(self._free[block.small], (block.nbytes, block.address, block))

    def _take(self, block: Block) -> None:
        pool = self._free[block.small]
        pool.pop(bisect_left(pool, (block.nbytes, block.address)))
