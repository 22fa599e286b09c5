"""A plan within a capacity, found by OR-tools' CP-SAT: for arenas where a greedy plan is just too large."""

from collections.abc import Sequence
from math import gcd

from edgebudget.errors import MissingExtraError
from edgebudget.planning.interface import ArenaPlan, Buffer
from edgebudget.planning.lifetimes import align, lower_bound


def plan_within(
    buffers: Sequence[Buffer], capacity_bytes: int, seconds: float, alignment: int = 1, workers: int = 1
) -> ArenaPlan | None:
    """Return a plan of at most `capacity_bytes`; None where there is none, or none was found within `seconds`.

    `workers` threads search; with one the answer is the same each time, but for where the clock stops it. Raises
    MissingExtraError without OR-tools.
    """
    try:
        from ortools.sat.python import cp_model
    except ImportError:
        raise MissingExtraError("ortools", "exact", "An exact plan") from None

    sizes = [align(buffer.nbytes, alignment) for buffer in buffers]
    if lower_bound([b._replace(nbytes=size) for b, size in zip(buffers, sizes, strict=True)]) > capacity_bytes:
        return None
    unit = gcd(alignment, *sizes) if alignment > 1 else gcd(*sizes)
    unit = max(unit, 1)
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
