"""What glibc's malloc hands out for a request: the chunk's size classes, and whole pages for what it maps.

Read in glibc's malloc/malloc.c: `request2size`, `sysmalloc_mmap`, `_mid_memalign`; constants of the 64-bit build.
"""

PAGE_BYTES = 4096
MAPPED_FROM_BYTES = 128 * 1024  # M_MMAP_THRESHOLD, where it starts
_HEADER, _GRAIN, _LEAST = 8, 16, 24


def usable_bytes(nbytes: int, alignment: int = _GRAIN) -> int:
    """Return `malloc_usable_size` of a block of `nbytes` from malloc, or from posix_memalign where `alignment` > 16."""
    spare = alignment + 2 * _GRAIN if alignment > _GRAIN else 0
    if nbytes + spare >= MAPPED_FROM_BYTES:
        mapped = -(-(nbytes + spare + _HEADER) // PAGE_BYTES) * PAGE_BYTES
        return mapped - max(alignment, _GRAIN)
    return max(_LEAST, -(-(nbytes + _HEADER) // _GRAIN) * _GRAIN - _HEADER)
