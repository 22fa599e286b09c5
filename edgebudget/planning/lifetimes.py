"""What is alive when: the curve of live bytes, and the bound no planner can beat."""

from collections.abc import Sequence
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
    events = sorted([(b.first, b.nbytes) for b in buffers] + [(b.last + 1, -b.nbytes) for b in buffers])
    return max(accumulate(nbytes for _, nbytes in events), default=0)


def align(nbytes: int, alignment: int) -> int:
    """Return `nbytes` rounded up to a multiple of `alignment`."""
    return -(-nbytes // alignment) * alignment
