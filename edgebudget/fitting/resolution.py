"""The largest input that fits, found by bisection over real traces."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edgebudget.errors import EdgeBudgetError
from edgebudget.fitting._traces import image_size, trace_again, with_image_size
from edgebudget.fitting.interface import Case, Proposal

STEPS = (1, 2, 4, 8, 16, 32)
"""Differences in height to try: a model whose strides must come out even takes only some sizes."""
LARGEST = 8192  # pixels of height; no device's camera feeds a network more
SMALLEST = 16


@dataclass(frozen=True)
class Limit:
    """The largest input that fits and the next one, which does not; each None where there is none."""

    fitting: Proposal | None
    beyond: Proposal | None


@dataclass(frozen=True, slots=True)
class _Resolution:
    effort: int = 3

    def propose(self, case: Case) -> Iterator[Proposal]:
        """Yield the largest input below the one asked for that fits, or else the smallest that the model takes."""
        size = image_size(case.loaded)
        if size is None:
            return
        limit = largest(case)
        found = limit.fitting or limit.beyond
        if found is not None and found.case.changes and _height(found.case) < size[0]:
            yield found


def largest(case: Case) -> Limit:
    """Return the largest input that fits, its width to its height as now, and the next size, which does not.

    Both are None where the model takes no images or only those of its own size. Below the smallest size tried nothing
    is said to fit.
    """
    size = image_size(case.loaded)
    if size is None:
        return Limit(None, None)
    known: dict[int, Proposal | None] = {}

    def at(height: int) -> Proposal | None:
        if height not in known:
            known[height] = _at(case, size, height)
        return known[height]

    step = next((s for s in STEPS if size[0] - s >= SMALLEST and at(size[0] - s) is not None), None)
    if step is None:
        return Limit(None, None)
    return _bisect(size[0], step, at)


def _bisect(start: int, step: int, at: Callable[[int], Proposal | None]) -> Limit:
    """`low` fits and `high` does not, in units of `step` away from `start`."""

    def fits(k: int) -> bool:
        found = at(start + k * step)
        return found is not None and found.fits

    if fits(0):
        low, high = 0, 1
        while fits(high) and start + high * step < LARGEST:
            low, high = high, high * 2
    else:
        low, high = -((start - SMALLEST) // step), 0
        if not fits(low):
            return Limit(None, at(start + low * step))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return Limit(at(start + low * step), at(start + high * step))


def _at(case: Case, size: tuple[int, int], height: int) -> Proposal | None:
    new = (height, max(round(size[1] * height / size[0]), 1))
    if new == size:
        return Proposal(case, case.check())
    try:
        changed = trace_again(case, with_image_size(case.loaded, size, new))
        changed = changed.with_change(
            "resolution", f"Feed inputs of {new[0]}x{new[1]} in place of {size[0]}x{size[1]}."
        )
        return Proposal(changed, changed.check())
    except EdgeBudgetError:
        return None


def _height(case: Case) -> int:
    size = image_size(case.loaded)
    return size[0] if size else 0


PROPOSER = _Resolution()
