"""From pairs of estimate and measurement to a fit. Pure; needs SciPy, which the extra `calibrate` brings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import ceil
from statistics import median

from edgebudget.calibration.conformal import conformal_bounds, needed, outermost
from edgebudget.calibration.model import FLOOR_BYTES, Fit, HeldOut, raw_coefficients
from edgebudget.calibration.pairs import Pair
from edgebudget.calibration.solving import SHAPES, Coefficients, Solver
from edgebudget.errors import CalibrationError

MIN_MODELS = 10
MIN_FAMILIES = 5
DEFAULT_LEVEL = 0.9
BETTER = 0.9
"""What of the median error a richer shape may leave: less gain is chance, and its coefficients may be anything. Asked
after verdicts had been counted: a fit of eager PyTorch to all but one family gave the workspace a coefficient of 0, and
called a budget enough for that family's model which was not."""

Predicted = Sequence[tuple[Pair, Coefficients]]
"""Pairs with the coefficients that predict them."""


@dataclass(frozen=True)
class Origin:
    """Where the measurements of a fit come from: one runtime, dtype and machine, or they must not be mixed."""

    runtime: str
    dtype: str
    isa: str
    measured_on: str
    measured_from: str
    measured_to: str
    versions: Mapping[str, str]
    fixed_bytes: int = 0


class Fitter:
    """The calibrations that one set of pairs supports: of all of them, and of all but a family's, to judge that by."""

    def __init__(self, pairs: Sequence[Pair], origin: Origin, level: float = DEFAULT_LEVEL) -> None:
        self._pairs = tuple(pairs)
        self.origin = origin
        self.level = level
        self._solver = Solver(pairs)
        self._choices: dict[str | None, tuple[str | None, Predicted]] = {}

    def fit(self, but_family: str | None = None, at_least: float = 0.0) -> Fit:
        """Return the calibration of the pairs that are not of `but_family`, with its error on what is left out.

        The upper end of its interval is `at_least` that ratio: what the runtime's other errors ask for.

        Non-negative least squares on relative residuals with a soft-L1 loss, in the shape among SHAPES that does best
        on families left out, if any does better than the raw estimate there: a shape is better than a simpler one, or
        than none, where the median error is a tenth lower (BETTER). Nothing of it knows `but_family`: not the
        coefficients, not the choice of the shape, not the interval.

        The interval holds the ratios of measured to predicted peaks of families that were left out, each end the
        outermost of a model's processes, so that it is meant to hold all of them; `edgebudget.calibration.conformal`
        says which share of which models. Raises CalibrationError for too few models or families, or a level that so
        few models cannot support.
        """
        pairs, unknown = self._parted(but_family)
        families = sorted({pair.family for pair in pairs})
        models = {pair.model for pair in pairs}
        origin = self.origin
        if _are_too_few(pairs):
            found = f"{len(models)} models of {len(families)} families"
            raise CalibrationError(
                f"{origin.runtime} {origin.dtype} has measurements of {found}.",
                f"A fit needs at least {MIN_MODELS} of {MIN_FAMILIES}: measure more.",
            )
        held_out_raw = _held_out([(pair, raw_coefficients()) for pair in pairs])
        best, predicted = self._chosen(but_family)
        low, high = _bounds(predicted, self.level)
        high = max(high, at_least)
        ratios = [pair.ratios(used) for pair, used in predicted]
        return Fit(
            runtime=origin.runtime,
            dtype=origin.dtype,
            isa=origin.isa,
            level=self.level,
            coefficients=self._coefficients(best, unknown),
            low_ratio=low,
            high_ratio=high,
            models=len(models),
            families=len(families),
            unseen=len({pair.model for pair in pairs if not pair.built_on}),
            held_out=_held_out(predicted),
            held_out_raw=held_out_raw,
            leave_one_model_out=_held_out([(p, self._coefficients(best, unknown | {p.model})) for p in pairs]),
            coverage=sum(low <= lowest and highest <= high for lowest, highest in ratios) / len(ratios),
            measured_on=origin.measured_on,
            measured_from=origin.measured_from,
            measured_to=origin.measured_to,
            versions=origin.versions,
            digest=digest(pairs),
            note=_note(pairs, best, self.level),
            fixed_bytes=origin.fixed_bytes,
        )

    def ratios(self, but_family: str | None = None) -> tuple[tuple[float, float], ...]:
        """Return `Pair.ratios` of families that were left out, `but_family` apart; none of too few models for a fit."""
        pairs, _ = self._parted(but_family)
        return () if _are_too_few(pairs) else tuple(pair.ratios(used) for pair, used in self._chosen(but_family)[1])

    def _parted(self, but_family: str | None) -> tuple[list[Pair], frozenset[str]]:
        """Return the pairs that are not of `but_family`, and the models that are."""
        unknown = frozenset(pair.model for pair in self._pairs if pair.family == but_family)
        return [pair for pair in self._pairs if pair.family != but_family], unknown

    def _chosen(self, but_family: str | None) -> tuple[str | None, Predicted]:
        """Return `_choose`, made once."""
        if but_family not in self._choices:
            self._choices[but_family] = self._choose(*self._parted(but_family))
        return self._choices[but_family]

    def _choose(self, pairs: Sequence[Pair], unknown: frozenset[str]) -> tuple[str | None, Predicted]:
        """Return the simplest shape that no other beats by much on families left out, None for the raw estimate, and
        what it gives there."""
        of_family = {pair.family: unknown for pair in pairs}
        for pair in pairs:
            of_family[pair.family] |= {pair.model}
        best: str | None = None
        predicted: Predicted = [(pair, raw_coefficients()) for pair in pairs]
        least = raw = _held_out(predicted)
        for shape in SHAPES:
            by_shape = [(pair, self._coefficients(shape, of_family[pair.family])) for pair in pairs]
            error = _held_out(by_shape)
            if error.median < BETTER * least.median and error.p95 <= raw.p95:
                best, predicted, least = shape, by_shape, error
        return best, predicted

    def _coefficients(self, shape: str | None, without: frozenset[str]) -> Coefficients:
        return raw_coefficients() if shape is None else self._solver.coefficients(shape, without)


def fit(pairs: Sequence[Pair], origin: Origin, level: float = DEFAULT_LEVEL) -> Fit:
    """Return the calibration that all of `pairs` support, as `Fitter.fit` does."""
    return Fitter(pairs, origin, level).fit()


def _are_too_few(pairs: Sequence[Pair]) -> bool:
    return len({pair.model for pair in pairs}) < MIN_MODELS or len({pair.family for pair in pairs}) < MIN_FAMILIES


def _bounds(predicted: Predicted, level: float) -> tuple[float, float]:
    """Return the ends that hold `level` of all pairs and `level` of those that nothing was built on.

    Of the latter they hold every one where there are too few to hold a share of.
    """
    low, high = conformal_bounds([pair.ratios(used) for pair, used in predicted], level)
    unseen = [pair.ratios(used) for pair, used in predicted if not pair.built_on]
    if not unseen:
        return low, high
    unseen_low, unseen_high = outermost(unseen, level)
    return min(low, unseen_low), max(high, unseen_high)


def _note(pairs: Sequence[Pair], shape: str | None, level: float) -> str:
    said = []
    if shape is None:
        said.append("The peak is the raw estimate: no correction did better on families left out.")
    if not any("load" in pair.parts for pair in pairs):
        said.append("Loading was not measured: its peak is the raw estimate's.")
    unseen = sum(not pair.built_on for pair in pairs)
    if unseen < needed(level):
        said.append(
            f"Only {unseen} of its models played no part in modelling the runtime, which is too few to promise that "
            f"{level:.0%} of such are held."
        )
    return " ".join(said)


def digest(pairs: Sequence[Pair]) -> str:
    """Return the SHA-256 of what was measured, the same whatever the order of the models."""
    lines = sorted(f"{pair.model} {sorted(pair.measured_bytes.items())} {sorted(pair.peaks_bytes)}" for pair in pairs)
    return sha256("\n".join(lines).encode()).hexdigest()


def _held_out(predicted: Predicted) -> HeldOut:
    """Return the errors of the peaks that are above FLOOR_BYTES; of all where none is."""
    large = [(pair, used) for pair, used in predicted if pair.measured_peak_bytes >= FLOOR_BYTES] or predicted
    errors = sorted(abs(pair.predict(used) / pair.measured_peak_bytes - 1) for pair, used in large)
    return HeldOut(median(errors), errors[ceil(0.95 * len(errors)) - 1], errors[-1])
