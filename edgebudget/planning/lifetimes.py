"""What is alive when: the curve of live bytes, and the bound no planner can beat."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate

from edgebudget.planning.interface import Buffer


def live_bytes(buffers: Sequence[tuple[object, int, int, int]], steps: int) -> list[int]:
    """Return the bytes alive at each of `steps` operators.

    Each buffer is (what it is, bytes, first, last): its lifetime is inclusive and cut to 0 .. steps - 1.
    """
    change = [0] * (steps + 1)
    for _, nbytes, first, last in buffers:
        start, end = (first if first > 0 else 0), last + 1
        if start < end and start < steps:
            change[start] += nbytes
            change[end if end < steps else steps] -= nbytes
    return list(accumulate(change[:steps]))


def lower_bound(buffers: Sequence[Buffer]) -> int:
    """Return the most bytes alive at once: no planner can take less."""
    return busiest(buffers)[1]


def busiest(buffers: Iterable[tuple[object, int, int, int]]) -> tuple[int, int]:
    """Return the first operator with the most bytes alive, and how many they are; (0, 0) where there are none."""
    changes: defaultdict[int, int] = defaultdict(int)
    for _, nbytes, first, last in buffers:
        changes[first] += nbytes
        changes[last + 1] -= nbytes
    moments = sorted(changes)
    alive = list(accumulate(map(changes.__getitem__, moments)))
    most = max(alive, default=0)
    return (moments[alive.index(most)], most) if moments else (0, 0)


def align(nbytes: int, alignment: int) -> int:
    """Return `nbytes` rounded up to a multiple of `alignment`."""
    return -(-nbytes // alignment) * alignment
