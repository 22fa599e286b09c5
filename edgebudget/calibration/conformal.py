"""How far measured peaks may lie from predicted ones: split-conformal bounds whose upper end is missed the least. Pure.

Two questions were answered before the answers were held against any measurement, a third after.

*Whose errors?* A user's model is one that nobody looked at while the runtimes were modelled: it is exchangeable with
the models to judge by, not with those built on, whose errors somebody tried to make small. So the bounds hold the
stated share of these unseen models. They hold the same share of all models too: that is what there is where few were
kept to judge by, and an error that is left on a model that was tuned to can surely happen to a new one. How far the two
kinds differ was looked at next, over 719 errors, 335 of them of unseen models: their medians are alike, and bounds over
both together at 90 % miss 10.1 % of the unseen and 8.6 % of the others, but for ONNX Runtime on Arm 14 of 82 unseen and
2 of 84 others. What holds on the whole need not hold for the one runtime that a user asks about.

*Which end?* Of n errors in order, a new one falls into each of the n + 1 gaps between and beside them with the same
chance, so that bounds may leave out (n + 1)(1 - level) of the gaps in all, in any split between the ends. A peak above
the upper end may be a GO for a model that does not fit, one below the lower end only a NO-GO for one that does: of the
gaps left out at most a fifth are above, the rest below, and one at least at either end, since nothing is known beyond
the outermost error. With fewer than 99 errors at 90 % the upper end is hence the largest error seen, and no more than
one new model in n + 1 is expected above it.

*What more is there to go by?* This was asked after verdicts had been counted: over twenty such sets and hundreds of
verdicts one in n + 1 is still a handful above, since each set has a model whose error is its largest. But the errors of
one runtime in other dtypes and on other instruction sets are errors of one model of one runtime, and all of them are
hundreds, whose upper end is no longer the outermost. So no fit's upper end is below that of its runtime's errors
together (`edgebudget.calibration.recorded`). It only ever widens: the level stands whether those errors are alike or
not. That no verdict on record lies above is therefore no promise of none: the chance is small, not zero.
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
