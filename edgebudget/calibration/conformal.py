"""How far measured peaks may lie from predicted ones: split-conformal bounds whose upper end is missed the least. Pure.

Two questions were decided before their answers were held against any model to judge by.

*Whose errors?* A user's model is one that nobody looked at while the runtimes were modelled, so it is exchangeable with
models to judge by, not with those built on. The bounds therefore hold the stated share of the errors of those nobody
looked at. They hold the same share of all errors too: that asks nothing that the first would not where the two are
alike, it adds models where few were kept to judge by, and an error that is still there on a model that was tuned to can
surely happen to a new one. As recorded, the middle of both kinds is alike (medians and 90th percentiles), and the far
errors are those of models nobody looked at, which is what the choice guards against.

*Which end?* Of n errors in order, a new one falls into each of the n + 1 gaps with the same chance, so bounds may leave
out (n + 1)(1 - level) of the gaps in all, in any split between the ends. A peak above the upper end can be a GO for a
model that does not fit, one below the lower end only a NO-GO too many: of the gaps left out a fifth are above, the rest
below, and one at least at either end, since nothing beyond the outermost error is known. Up to some hundred
errors at 90 % the upper end is hence the largest error seen, and at most one new model in n + 1 lies above it.
"""

from collections.abc import Sequence
from math import ceil, floor

from edgebudget.errors import CalibrationError

_SHARE_ABOVE = 5
"""One in so many misses may be above: a verdict that lets a model in costs more than one that keeps it out."""


def ranks(count: int, level: float) -> tuple[int, int]:
    """Return which of `count` ratios bound `level`, counted from the lowest and from the highest, both from 1.

    Where there are too few for the level both are 1: the outermost.
    """
    misses = floor((count + 1) * (1 - level) + 1e-9)
    above = max(1, misses // _SHARE_ABOVE)
    return max(1, misses - above), above


def needed(level: float) -> int:
    """Return how many ratios it takes before the outermost of them hold `level` of new ones."""
    return ceil(2 / (1 - level) - 1e-9) - 1


def conformal_bounds(ratios: Sequence[tuple[float, float]], level: float) -> tuple[float, float]:
    """Return the bounds that a new pair of ratios, lowest and highest, stays within with probability `level` at least.

    That holds where it is exchangeable with `ratios`. Raises CalibrationError where they are fewer than `needed`.
    """
    if len(ratios) < needed(level):
        raise CalibrationError(
            f"An interval at {level:.0%} needs at least {needed(level)} models; there are {len(ratios)}.",
            "Measure more, or ask for a lower level.",
        )
    return outermost(ratios, level)


def outermost(ratios: Sequence[tuple[float, float]], level: float) -> tuple[float, float]:
    """Return the bounds of `conformal_bounds`; of fewer than `needed` those that hold every one of `ratios`."""
    below, above = ranks(len(ratios), level)
    return sorted(low for low, _ in ratios)[below - 1], sorted(high for _, high in ratios)[-above]
