"""ONNX Runtime's arena: regions that double, best fit within them, nothing given back before the session ends.

`BFCArena` (core/framework/bfc_arena.cc) with its defaults: 1 MiB first, then powers of two up to 1 GiB.
"""

from dataclasses import dataclass

from edgebudget.runtimes._glibc import Block, Heap

GRAIN_BYTES = 256  # BFCArena::kMinAllocationSize
FIRST_REGION_BYTES = 1 << 20  # DEFAULT_INITIAL_CHUNK_SIZE_BYTES
LARGEST_REGION_BYTES = 1 << 30  # DEFAULT_MAX_POWER_OF_TWO_EXTEND_BYTES
DEAD_BYTES = 128 << 20  # DEFAULT_MAX_DEAD_BYTES_PER_CHUNK: a chunk may be this much too large, or half empty
MAPPED_ADDRESS, MAPPED_STEP = 1 << 60, 1 << 40  # mapped regions lie above the heap, each below the one before
ALIGNED_BYTES = 64  # MlasGetPreferredBufferAlignment, by which the CPU allocator aligns
HANDLE_BYTES = 8  # AllocationRegion keeps a chunk handle for every grain


@dataclass(slots=True, eq=False)
class Chunk:
    """A stretch of one region, with its neighbours."""

    nbytes: int
    region: int
    offset: int  # in its region
    free: bool = True
    before: "Chunk | None" = None
    after: "Chunk | None" = None


class Arena:
    """Regions from `heap` and the chunks in them, which are written to as they are taken. Sizes in bytes."""

    def __init__(self, heap: Heap) -> None:
        self._heap = heap
        self._blocks: list[Block] = []
        self._addresses: list[int] = []
        self._next_region_nbytes = FIRST_REGION_BYTES
        self._free: set[Chunk] = set()
        self.regions: list[int] = []

    def allocate(self, nbytes: int) -> Chunk:
        """Return a chunk of at least `nbytes`: the smallest free one that fits, else one of a new region."""
        wanted = max(-(-nbytes // GRAIN_BYTES) * GRAIN_BYTES, GRAIN_BYTES)
        fitting = [chunk for chunk in self._free if chunk.nbytes >= wanted]
        chunk = min(fitting, key=self._size_and_address) if fitting else self._extend(wanted)
        self._free.discard(chunk)
        chunk.free = False
        if chunk.nbytes >= 2 * wanted or chunk.nbytes - wanted >= DEAD_BYTES:
            rest = Chunk(chunk.nbytes - wanted, chunk.region, chunk.offset + wanted, before=chunk, after=chunk.after)
            if chunk.after is not None:
                chunk.after.before = rest
            chunk.after = rest
            chunk.nbytes = wanted
            self._free.add(rest)
        self._heap.write(self._blocks[chunk.region], chunk.offset + nbytes)
        return chunk

    def _size_and_address(self, chunk: Chunk) -> tuple[int, int]:
        """The order of `BFCArena::Bin::ChunkComparator`: which of two equal chunks is taken goes by their addresses."""
        return chunk.nbytes, self._addresses[chunk.region] + chunk.offset

    def free(self, chunk: Chunk) -> None:
        """Give a chunk back and join it with its free neighbours."""
        chunk.free = True
        if chunk.after is not None and chunk.after.free:
            self._absorb(chunk, chunk.after)
        if chunk.before is not None and chunk.before.free:
            chunk = self._absorb(chunk.before, chunk)
        self._free.add(chunk)

    def _absorb(self, chunk: Chunk, neighbour: Chunk) -> Chunk:
        self._free.discard(neighbour)
        chunk.nbytes += neighbour.nbytes
        chunk.after = neighbour.after
        if neighbour.after is not None:
            neighbour.after.before = chunk
        return chunk

    def _extend(self, wanted: int) -> Chunk:
        increased = False
        while wanted > self._next_region_nbytes:
            self._next_region_nbytes *= 2
            increased = True
        nbytes = self._next_region_nbytes
        if not increased:
            doubled = self._next_region_nbytes * 2
            self._next_region_nbytes = doubled if doubled < LARGEST_REGION_BYTES else LARGEST_REGION_BYTES
        chunk = Chunk(nbytes, len(self.regions), 0)
        block = self._heap.malloc(nbytes, ALIGNED_BYTES, written_nbytes=0)
        self._addresses.append(block.start if block.start >= 0 else MAPPED_ADDRESS - len(self.regions) * MAPPED_STEP)
        self._blocks.append(block)
        self._heap.malloc(nbytes // GRAIN_BYTES * HANDLE_BYTES)
        self.regions.append(nbytes)
        self._free.add(chunk)
        return chunk
