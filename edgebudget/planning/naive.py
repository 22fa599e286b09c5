"""The baseline: every buffer gets a place of its own."""

from collections.abc import Sequence

from edgebudget.planning.interface import ArenaPlan, Buffer
from edgebudget.planning.lifetimes import align


def naive(buffers: Sequence[Buffer], alignment: int = 1) -> ArenaPlan:
    """Return the plan that reuses nothing: the arena is the sum of the aligned sizes."""
    offsets, end = [], 0
    for buffer in buffers:
        offsets.append(end)
        end += align(buffer.nbytes, alignment)
    return ArenaPlan(tuple(buffers), tuple(offsets), end)
