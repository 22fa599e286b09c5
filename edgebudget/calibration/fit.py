"""From pairs of estimate and measurement to a fit. Pure; needs SciPy, which the extra `calibrate` brings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import ceil, floor, inf
from statistics import median
from typing import TYPE_CHECKING

from edgebudget.calibration.model import FLOOR_BYTES, PARTS, PHASES, Fit, HeldOut, raw_coefficients
from edgebudget.errors import CalibrationError, MissingExtraError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

MIN_MODELS = 10
MIN_FAMILIES = 5
DEFAULT_LEVEL = 0.9
_ROBUST_SCALE = 0.05  # residuals beyond 5 % of the measured peak count linearly, not squared: outliers do not steer

Groups = tuple[tuple[str, ...], ...]
SHAPES: Mapping[str, Mapping[str, Groups]] = {
    "one factor": {"load": (("heap", "mapped"),), "inference": (("weights", "activations", "workspace", "mapped"),)},
    "one factor and a constant": {
        "load": (("heap", "mapped"), ("constant",)),
        "inference": (("weights", "activations", "workspace", "mapped"), ("constant",)),
    },
    "weights, activations and a constant": {
        "load": (("heap", "mapped"), ("constant",)),
        "inference": (("weights", "mapped"), ("activations", "workspace"), ("constant",)),
    },
    "every part": {phase: tuple((part,) for part in parts) for phase, parts in PARTS.items()},
}
"""What may be fitted, simplest first: in each phase the parts that share a coefficient; those not named get none."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One model: the parts of its estimate by phase, and the process's peak in each phase over the idle runtime.

    Both hold the phases that were measured: inference, and most often loading. `peaks_bytes` are the peaks of all
    processes of which `measured_bytes` are the medians; empty where there was one.
    """

    model: str
    family: str
    parts: Mapping[str, Mapping[str, int]]
    measured_bytes: Mapping[str, int]
    peaks_bytes: tuple[int, ...] = ()

    @property
    def measured_peak_bytes(self) -> int:
        return max(self.measured_bytes.values())

    def predict(self, coefficients: Mapping[str, Mapping[str, float]]) -> float:
        """Return the peak over the measured phases that `coefficients` give, in bytes, at least one."""
        peaks = [sum(coefficients[p][part] * b for part, b in parts.items()) for p, parts in self.parts.items()]
        return max(1.0, *peaks)

    def ratios(self, coefficients: Mapping[str, Mapping[str, float]]) -> tuple[float, float]:
        """Return the lowest and the highest measured over the predicted peak, each from FLOOR_BYTES below nothing."""
        peaks = self.peaks_bytes or (self.measured_peak_bytes,)
        predicted = self.predict(coefficients) + FLOOR_BYTES
        return (min(peaks) + FLOOR_BYTES) / predicted, (max(peaks) + FLOOR_BYTES) / predicted


Coefficients = dict[str, dict[str, float]]


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


def fit(pairs: Sequence[Pair], origin: Origin, level: float = DEFAULT_LEVEL) -> Fit:
    """Return the calibration that `pairs` support, with its error on models and families left out.

    Non-negative least squares on relative residuals with a soft-L1 loss, in the shape among SHAPES that does best
    on families left out, if any does better than the raw estimate there; the interval is split-conformal over the
    ratios of measured to predicted peaks of families that were left out: each end over the outermost of a model's
    processes, so that it is meant to hold all of them. Raises CalibrationError for too few models or
    families, or a level that so few models cannot support.
    """
    families = sorted({pair.family for pair in pairs})
    models = {pair.model for pair in pairs}
    if len(models) < MIN_MODELS or len(families) < MIN_FAMILIES:
        raise CalibrationError(
            f"{origin.runtime} {origin.dtype} has measurements of {len(models)} models of {len(families)} families.",
            f"A fit needs at least {MIN_MODELS} of {MIN_FAMILIES}: measure more.",
        )
    raw = raw_coefficients()
    predicted = [(pair, raw) for pair in pairs]
    held_out = held_out_raw = _held_out(predicted)
    best: str | None = None
    for shape in SHAPES:
        by_family = _left_out(pairs, lambda pair: pair.family, shape)
        error = _held_out(by_family)
        if error.median < held_out.median and error.p95 <= held_out_raw.p95:
            best, held_out, predicted = shape, error, by_family
    ratios = [pair.ratios(used) for pair, used in predicted]
    low, _ = conformal_bounds([lowest for lowest, _ in ratios], level)
    _, high = conformal_bounds([highest for _, highest in ratios], level)
    by_model = predicted if best is None else _left_out(pairs, lambda pair: pair.model, best)
    return Fit(
        runtime=origin.runtime,
        dtype=origin.dtype,
        isa=origin.isa,
        level=level,
        coefficients=raw if best is None else _solve(pairs, best),
        low_ratio=low,
        high_ratio=high,
        models=len(models),
        families=len(families),
        held_out=held_out,
        held_out_raw=held_out_raw,
        leave_one_model_out=_held_out(by_model),
        coverage=sum(low <= lowest and highest <= high for lowest, highest in ratios) / len(ratios),
        measured_on=origin.measured_on,
        measured_from=origin.measured_from,
        measured_to=origin.measured_to,
        versions=origin.versions,
        digest=digest(pairs),
        note=_note(pairs, best),
        fixed_bytes=origin.fixed_bytes,
    )


def _note(pairs: Sequence[Pair], shape: str | None) -> str:
    said = []
    if shape is None:
        said.append("The peak is the raw estimate: no correction did better on families left out.")
    if not any("load" in pair.parts for pair in pairs):
        said.append("Loading was not measured: its peak is the raw estimate's.")
    return " ".join(said)


def conformal_bounds(ratios: Sequence[float], level: float) -> tuple[float, float]:
    """Return the bounds that a new ratio stays within with probability `level`, if it is exchangeable with `ratios`.

    Order statistics at (n + 1)(1 - level) / 2 from either end, rounded outwards: few ratios give more than `level`.
    Raises CalibrationError where `ratios` are too few for the level: fewer than 2 / (1 - level) - 1.
    """
    count = len(ratios)
    rank = floor((count + 1) * (1 - level) / 2 + 1e-9)
    if rank < 1:
        needed = ceil(2 / (1 - level) - 1e-9) - 1
        raise CalibrationError(
            f"An interval at {level:.0%} needs at least {needed} models; there are {count}.",
            "Measure more, or ask for a lower level.",
        )
    ordered = sorted(ratios)
    return ordered[rank - 1], ordered[count - rank]


def digest(pairs: Sequence[Pair]) -> str:
    """Return the SHA-256 of what was measured, the same whatever the order of the models."""
    lines = sorted(f"{pair.model} {sorted(pair.measured_bytes.items())} {sorted(pair.peaks_bytes)}" for pair in pairs)
    return sha256("\n".join(lines).encode()).hexdigest()


def _left_out(pairs: Sequence[Pair], key: Callable[[Pair], str], shape: str) -> list[tuple[Pair, Coefficients]]:
    """Return each pair with the coefficients of a fit that did not see any pair of the same `key`."""
    groups = {key(pair) for pair in pairs}
    fits = {group: _solve([pair for pair in pairs if key(pair) != group], shape) for group in groups}
    return [(pair, fits[key(pair)]) for pair in pairs]


def _held_out(predicted: Sequence[tuple[Pair, Coefficients]]) -> HeldOut:
    """Return the errors of the peaks that are above FLOOR_BYTES; of all where none is."""
    large = [(pair, used) for pair, used in predicted if pair.measured_peak_bytes >= FLOOR_BYTES] or predicted
    errors = sorted(abs(pair.predict(used) / pair.measured_peak_bytes - 1) for pair, used in large)
    return HeldOut(median(errors), errors[ceil(0.95 * len(errors)) - 1], errors[-1])


def _solve(pairs: Sequence[Pair], shape: str) -> Coefficients:
    raw = raw_coefficients()
    return {
        phase: _solve_phase(measured, phase, SHAPES[shape][phase]) if measured else raw[phase]
        for phase in PHASES
        for measured in [[pair for pair in pairs if phase in pair.parts]]
    }


def _solve_phase(pairs: Sequence[Pair], phase: str, groups: Groups) -> dict[str, float]:
    try:
        import numpy as np
        from scipy.optimize import least_squares
    except ImportError:
        raise MissingExtraError("scipy", "calibrate", "Fitting a calibration") from None

    sums = [[sum(pair.parts[phase][name] for name in group) for group in groups] for pair in pairs]
    parts = np.array(sums, dtype=float)
    measured = np.array([pair.measured_bytes[phase] for pair in pairs], dtype=float)
    typical_bytes = float(np.median(measured))
    constants = np.array([group == ("constant",) for group in groups])
    parts[:, constants] *= typical_bytes  # so that all unknowns are near one: the solver takes steps of one size

    def residuals(unknown: "Vector") -> "Vector":
        error: Vector = (parts @ unknown - measured) / (measured + FLOOR_BYTES)
        return error

    start = np.where(constants, 0.0, 1.0)
    solved = least_squares(residuals, start, bounds=(0, inf), loss="soft_l1", f_scale=_ROBUST_SCALE).x
    solved[constants] *= typical_bytes
    # A part that no model has tells nothing: a coefficient for it would be the start's.
    found = {name: float(solved[i]) for i, group in enumerate(groups) if parts[:, i].any() for name in group}
    return {name: found.get(name, 0.0) for name in PARTS[phase]}
