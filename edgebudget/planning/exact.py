"""A plan within a capacity: for arenas where a greedy plan is just too large."""

import time
from collections.abc import Sequence
from math import gcd

from edgebudget.planning.interface import ArenaPlan, Buffer
from edgebudget.planning.lifetimes import align, lower_bound

SHARE = 0.8  # of the time, for the search from the bottom up: it finds more, and sooner
LARGEST = 4_000  # buffers that it keeps a table of pairs of


def plan_within(
    buffers: Sequence[Buffer], capacity_bytes: int, seconds: float, alignment: int = 1, workers: int = 1
) -> ArenaPlan | None:
    """Return a plan of at most `capacity_bytes`; None where there is none, or none was found within `seconds`.

    A search from the bottom up, and then OR-tools' CP-SAT where it is installed, on `workers` threads: each finds
    plans that the other does not. With one worker the answer is the same each time, but for where the clock stops it.
    """
    from edgebudget.planning.canonical import search_within  # needs numpy, which no other planner does

    start = time.monotonic()
    if len(buffers) <= LARGEST:
        plan = search_within(buffers, capacity_bytes, SHARE * seconds, alignment)
        if plan is not None:
            return plan
    return solve_within(buffers, capacity_bytes, seconds - (time.monotonic() - start), alignment, workers)


def solve_within(
    buffers: Sequence[Buffer], capacity_bytes: int, seconds: float, alignment: int = 1, workers: int = 1
) -> ArenaPlan | None:
    """Return what CP-SAT finds: rectangles of time and space that do not overlap; None without OR-tools."""
    try:
        from ortools.sat.python import cp_model
    except ImportError:
        return None
    sizes = [align(buffer.nbytes, alignment) for buffer in buffers]
    if lower_bound([b._replace(nbytes=size) for b, size in zip(buffers, sizes, strict=True)]) > capacity_bytes:
        return None
    unit = max(gcd(alignment, *sizes) if alignment > 1 else gcd(*sizes), 1)
    height = capacity_bytes // unit
    model = cp_model.CpModel()
    offsets = [model.new_int_var(0, height - size // unit, "") for size in sizes]
    spans = [model.new_fixed_size_interval_var(b.first, b.last - b.first + 1, "") for b in buffers]
    blocks = [model.new_fixed_size_interval_var(o, s // unit, "") for o, s in zip(offsets, sizes, strict=True)]
    model.add_no_overlap_2d(spans, blocks)
    model.add_cumulative(spans, [size // unit for size in sizes], height)
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.num_workers = workers
    solver.parameters.use_timetabling_in_no_overlap_2d = True
    solver.parameters.use_energetic_reasoning_in_no_overlap_2d = True
    if solver.solve(model) not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None
    found = tuple(solver.value(offset) * unit for offset in offsets)
    return ArenaPlan(tuple(buffers), found, max((o + s for o, s in zip(found, sizes, strict=True)), default=0))
