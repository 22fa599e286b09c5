"""An independent check of plans: it shares no code with any planner."""

from bisect import bisect_left
from itertools import pairwise

from edgebudget.planning.interface import ArenaPlan


class PlanError(ValueError):
    """Two buffers of a plan share memory while both are alive, or one lies outside the arena or off its alignment."""


def verify_plan(plan: ArenaPlan, alignment: int = 1) -> None:
    """Raise PlanError unless all buffers are aligned, inside the arena, and apart from those alive with them.

    A sweep over time: whoever is born must not reach into those alive next to it, by offset. What is alive has been
    apart so far, so its neighbours are all that it could meet first.
    """
    births: dict[int, list[tuple[int, int, int]]] = {}
    deaths: dict[int, list[tuple[int, int, int]]] = {}
    for offset, (name, nbytes, first, last) in zip(plan.offsets, plan.buffers, strict=True):
        if offset < 0 or offset % alignment or offset + nbytes > plan.nbytes:
            raise PlanError(f"buffer {name} at {offset} is misaligned or leaves the arena of {plan.nbytes} bytes")
        if nbytes and first <= last:
            block = (offset, offset + nbytes, name)
            births.setdefault(first, []).append(block)
            deaths.setdefault(last + 1, []).append(block)
    live: list[tuple[int, int, int]] = []  # by offset
    for moment in sorted(births.keys() | deaths.keys()):
        for block in deaths.get(moment, ()):
            del live[bisect_left(live, block)]
        for block in births.get(moment, ()):
            place = bisect_left(live, block)
            live.insert(place, block)
            for below, above in pairwise(live[max(place - 1, 0) : place + 2]):
                if above[0] < below[1]:
                    raise PlanError(
                        f"buffers {below[2]} and {above[2]} overlap at offset {above[0]} at operator {moment}"
                    )
