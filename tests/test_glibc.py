"""glibc's malloc: the sizes it hands out, held to the library itself, and the pages it keeps."""

import ctypes
import platform
import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebudget.runtimes._glibc import (
    CACHED_COUNT,
    MAPPED_FROM_BYTES,
    ApartHeap,
    FilledHeap,
    Heap,
    JoiningHeap,
    MergingHeap,
    usable_bytes,
)

MIB = 2**20
# Around where mapping begins, and where a request just fills its pages: header, grain and page rounding all show there.
SIZES = (1, 24, 25, 1000, 135_145, 135_152, 135_153, 139_240, 139_241, 400_000, 1_003_496, 1_003_505, 9_437_184)
ASK = """
import ctypes, sys
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.memalign.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.memalign.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
libc.malloc_usable_size.argtypes = [ctypes.c_void_p]
libc.malloc_usable_size.restype = ctypes.c_size_t
libc.mallopt(-3, 128 * 1024)  # M_MMAP_THRESHOLD: as a process starts, whatever Python has freed
for text in sys.argv[2:]:
    block = libc.memalign(64, int(text)) if sys.argv[1] == "64" else libc.malloc(int(text))
    print(libc.malloc_usable_size(block))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="asks the C library, which is not glibc here")
@pytest.mark.parametrize("alignment", [0, 64])
def test_usable_sizes_are_those_of_the_library(alignment: int) -> None:
    if ctypes.sizeof(ctypes.c_void_p) != 8:
        pytest.skip("constants of the 64-bit build")
    sizes = [size for size in SIZES if not alignment or size > MAPPED_FROM_BYTES]  # small aligned ones vary by place
    asked = [sys.executable, "-c", ASK, str(alignment), *map(str, sizes)]
    said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    assert [usable_bytes(size, alignment) for size in sizes] == [int(line) for line in said]


def test_pointers_of_four_bytes_halve_the_header() -> None:
    assert (usable_bytes(1, pointer_bytes=4), usable_bytes(13, pointer_bytes=4)) == (12, 20)


def test_a_mapped_block_gives_its_pages_back_and_later_ones_of_its_size_do_not() -> None:
    heap = Heap()
    heap.free(heap.malloc(4 * MIB))
    assert heap.resident_nbytes == 0
    low, high = heap.malloc(4 * MIB - 4096), heap.malloc(4 * MIB - 4096)  # below the threshold now: from the heap
    heap.free(low)
    assert heap.live_nbytes == high.usable_nbytes
    assert heap.resident_nbytes > 8 * MIB - 4 * 4096  # what was freed below a live block stays


def test_blocks_in_series_stay_apart_until_their_companions_are_freed() -> None:
    heap = Heap(32 * MIB)
    blocks = [heap.malloc_in_series(MIB, 64, 32) for _ in range(5)]
    heap.free(blocks[1])
    heap.free(blocks[2])  # its companion lies before the block before
    before = heap.resident_nbytes
    apart = heap.malloc(2 * MIB)  # the two holes do not join: one more companion lies between
    assert apart.start > blocks[4].start
    heap.free(blocks[3])
    joined = heap.malloc(2 * MIB)
    assert blocks[0].start < joined.start < blocks[3].start
    assert heap.resident_nbytes - before < 2 * MIB + 256 * 1024


def test_the_top_is_trimmed_once_it_is_twice_the_threshold() -> None:
    heap = Heap(MIB)
    blocks = [heap.malloc(MIB - 4096) for _ in range(4)]
    heap.free(blocks.pop())
    assert heap.resident_nbytes > 4 * MIB - 8 * 4096
    while blocks:
        heap.free(blocks.pop())
    assert heap.resident_nbytes < 2 * MIB


def test_what_is_not_written_to_is_not_resident() -> None:
    heap = Heap()
    block = heap.malloc(16 * MIB, 64, written_nbytes=0)
    assert (heap.live_nbytes >= 16 * MIB, heap.resident_nbytes) == (True, 0)
    heap.write(block, 3 * MIB)
    heap.write(block, 2 * MIB)
    assert heap.resident_nbytes == 3 * MIB


def test_a_hole_of_the_same_size_is_too_small_for_an_aligned_block_while_its_ends_are_cached() -> None:
    heap = Heap(32 * MIB)
    first, barrier = heap.malloc(MIB, 64), heap.malloc(100)
    heap.free(first)
    again = heap.malloc(MIB, 64)
    assert again.start != first.start
    assert barrier.start < again.start
    heap.fill_caches()
    third = heap.malloc(MIB, 64)
    heap.free(third)
    assert heap.malloc(MIB, 64).start == third.start


def test_ends_join_only_where_the_cache_of_their_size_is_full_and_nobody_uses_it_up() -> None:
    def used_again(cached: int, used: int, left: int = 0) -> bool:
        heap = Heap(32 * MIB)
        heap.malloc(40)  # so that the next aligned block begins where its chunk does, and all that is over is its end
        heap.set_caches({112: cached})
        heap.hold(0, {112: (used, left)})
        first = heap.malloc(MIB, 64)
        heap.free(first)
        return heap.malloc(MIB, 64).start == first.start

    assert used_again(cached=CACHED_COUNT, used=0)
    assert not used_again(cached=CACHED_COUNT, used=1)
    assert used_again(cached=CACHED_COUNT, used=1, left=CACHED_COUNT)
    assert not used_again(cached=CACHED_COUNT - 1, used=0)


@pytest.mark.parametrize(("lead", "kept"), [(0, 0), (32, 0), (48, 0), (80, 32)])
def test_an_end_of_32_bytes_stays_with_the_aligned_block(lead: int, kept: int) -> None:
    heap = Heap(32 * MIB, start=-(lead + 16) % 64)
    block = heap.malloc(MIB, 64)
    assert block.start - (-(lead + 16) % 64) == lead
    assert block.chunk_nbytes == MIB + 16 + kept


def test_small_blocks_fill_the_smallest_holes_first() -> None:
    heap = Heap(32 * MIB)
    holes = [heap.malloc(nbytes) for nbytes in (8000, 100, 1000, 100, 500, 100)]
    for block in holes[::2]:
        heap.free(block)
    held = heap.hold(1800)
    assert [block.start for block in held] == [holes[4].start, holes[2].start, holes[0].start]
    assert sum(block.chunk_nbytes for block in held) == 1792


@pytest.mark.parametrize("kind", [MergingHeap, FilledHeap])
def test_since_2_39_the_end_of_an_aligned_block_joins_what_is_free_beside_it(kind: type[Heap]) -> None:
    heap = kind(32 * MIB)
    first = heap.malloc(MIB, 64)
    heap.malloc(100)
    heap.free(first)
    second = heap.malloc(MIB // 2, 64)
    assert second.start < first.start + MIB
    heap.free(second)  # what was cut off at its end had joined the rest of the hole, and does so again
    assert heap.malloc(MIB - 4096, 64).start < first.start + MIB


def test_small_blocks_that_stay_keep_holes_from_joining() -> None:
    heap = FilledHeap(32 * MIB)
    blocks = [heap.malloc_in_series(MIB, 64, 32) for _ in range(5)]
    for block in blocks[1:4]:
        heap.free(block)  # as onnxruntime frees what it has packed: in a trace on a board none of 24 was used again
    assert heap.malloc(MIB, 64).start > blocks[4].start


@pytest.mark.parametrize(("kind", "used_again"), [(JoiningHeap, 10), (ApartHeap, 0)])
def test_at_worst_no_hole_of_a_series_is_used_again_and_at_best_all_are(kind: type[Heap], used_again: int) -> None:
    heap = kind(32 * MIB)
    blocks = [heap.malloc_in_series(MIB, 64, 32) for _ in range(12)]
    end = blocks[-1].start
    packed = []
    for block in blocks:  # as onnxruntime packs: the copy first, then the original goes
        packed.append(heap.malloc(MIB, 64))
        heap.free(block)
    assert sum(block.start < end for block in packed) == used_again  # the first hole fits nothing before the second


@pytest.mark.parametrize("kind", [Heap, JoiningHeap, ApartHeap, MergingHeap, FilledHeap])
@settings(deadline=None, max_examples=60)
@given(steps=st.lists(st.tuples(st.integers(1, 3 * MIB), st.sampled_from([0, 64]), st.booleans()), max_size=40))
def test_blocks_never_overlap_and_no_page_is_counted_twice(
    kind: type[Heap], steps: list[tuple[int, int, bool]]
) -> None:
    heap = kind()
    live = []
    for nbytes, alignment, drop in steps:
        live.append(heap.malloc(nbytes, alignment))
        assert live[-1].usable_nbytes >= nbytes
        if drop:
            heap.free(live.pop(0))
        places = sorted((b.start, b.start + b.chunk_nbytes) for b in live if b.start >= 0)
        assert all(end <= start for (_, end), (start, _) in pairwise(places))
        assert heap.live_nbytes == sum(block.usable_nbytes for block in live)
        assert 0 <= heap.resident_nbytes <= heap.peak_resident_nbytes
