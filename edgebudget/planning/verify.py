"""An independent check of plans: it shares no code with any planner."""

from itertools import pairwise

from edgebudget.planning.interface import ArenaPlan


class PlanError(ValueError):
    """Two buffers of a plan share memory while both are alive, or one lies outside the arena or off its alignment."""


def verify_plan(plan: ArenaPlan, alignment: int = 1) -> None:
    """Raise PlanError unless all buffers are aligned, inside the arena, and apart from those alive with them.

    A sweep over time: at each operator the live blocks, sorted by offset, must not reach into each other.
    """
    blocks = list(zip(plan.offsets, plan.buffers, strict=True))
    for offset, buffer in blocks:
        if offset < 0 or offset % alignment or offset + buffer.nbytes > plan.nbytes:
            raise PlanError(f"buffer {buffer.id} at {offset} is misaligned or leaves the arena of {plan.nbytes} bytes")
    for moment in sorted({buffer.first for _, buffer in blocks}):
        live = sorted(
            (offset, offset + buffer.nbytes, buffer.id)
            for offset, buffer in blocks
            if buffer.first <= moment <= buffer.last and buffer.nbytes
        )
        for (_, end, below), (start, _, above) in pairwise(live):
            if start < end:
                raise PlanError(f"buffers {below} and {above} overlap at offset {start} at operator {moment}")
