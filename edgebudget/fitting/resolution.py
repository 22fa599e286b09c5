"""The largest input that fits: between one that fits and one that does not, traced for real, until they touch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edgebudget.errors import EdgeBudgetError
from edgebudget.fitting._traces import trace_again
from edgebudget.fitting.interface import Case, Proposal
from edgebudget.sources._images import image_size, with_image_size

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
        for k in _guesses(low, high, at(start + low * step), at(start + high * step)):
            if low < k < high:
                low, high = (k, high) if fits(k) else (low, k)
    return Limit(at(start + low * step), at(start + high * step))


def _guesses(low: int, high: int, fitting: Proposal | None, beyond: Proposal | None) -> tuple[int, ...]:
    """Where the limit may be: where a line through both peaks meets the budget, next to it, and in the middle."""
    middle = (low + high) // 2
    ends = [p.result.peak_high_bytes if p is not None else None for p in (fitting, beyond)]
    budget = fitting.result.budget_bytes if fitting is not None else None
    if ends[0] is None or ends[1] is None or budget is None or ends[1] <= ends[0]:
        return (middle,)
    # Activations go with the area; along the bracket's height that is close to a line once the bracket is small.
    near = low + int((high - low) * ((budget - ends[0]) / (ends[1] - ends[0])) ** (0.5 if high - low > 64 else 1))
    return (near, near + 1, near - 1, middle)


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
