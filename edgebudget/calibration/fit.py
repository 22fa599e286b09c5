"""From pairs of estimate and measurement to a fit. Pure; needs SciPy, which the extra `calibrate` brings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import ceil, floor, inf
from statistics import median
from typing import TYPE_CHECKING

from edgebudget.calibration.model import PARTS, PHASES, Fit, HeldOut, raw_coefficients
from edgebudget.errors import CalibrationError, MissingExtraError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

MIN_MODELS = 10
MIN_FAMILIES = 5
DEFAULT_LEVEL = 0.9
_ROBUST_SCALE = 0.05  # residuals beyond 5 % of the measured peak count linearly, not squared: outliers do not steer


@dataclass(frozen=True, slots=True)
class Pair:
    """One model: the parts of its estimate by phase, and the process's peak in each phase over the idle runtime."""

    model: str
    family: str
    parts: Mapping[str, Mapping[str, int]]
    measured_bytes: Mapping[str, int]

    @property
    def measured_peak_bytes(self) -> int:
        return max(self.measured_bytes.values())

    def predict(self, coefficients: Mapping[str, Mapping[str, float]]) -> float:
        """Return the peak over phases that `coefficients` give, in bytes, at least one."""
        peaks = (sum(coefficients[p][part] * nbytes for part, nbytes in self.parts[p].items()) for p in PHASES)
        return max(1.0, *peaks)


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


def fit(pairs: Sequence[Pair], origin: Origin, level: float = DEFAULT_LEVEL) -> Fit:
    """Return the calibration that `pairs` support, with its error on models and families left out.

    Non-negative least squares on relative residuals with a soft-L1 loss; the interval is split-conformal over the
    ratios of measured to predicted peaks of families that were left out. Raises CalibrationError for too few models or
    families, or a level that so few models cannot support.
    """
    families = sorted({pair.family for pair in pairs})
    if len(pairs) < MIN_MODELS or len(families) < MIN_FAMILIES:
        raise CalibrationError(
            f"{origin.runtime} {origin.dtype} has measurements of {len(pairs)} models of {len(families)} families.",
            f"A fit needs at least {MIN_MODELS} of {MIN_FAMILIES}: measure more.",
        )
    by_family = _left_out(pairs, lambda pair: pair.family)
    by_model = _left_out(pairs, lambda pair: pair.model)
    raw = raw_coefficients()
    held_out, held_out_raw = _held_out(by_family), _held_out([(pair, raw) for pair in pairs])
    better = held_out.median < held_out_raw.median and held_out.p95 <= held_out_raw.p95
    predicted = by_family if better else [(pair, raw) for pair in pairs]
    ratios = sorted(pair.measured_peak_bytes / pair.predict(used) for pair, used in predicted)
    low, high = conformal_bounds(ratios, level)
    return Fit(
        runtime=origin.runtime,
        dtype=origin.dtype,
        isa=origin.isa,
        level=level,
        coefficients=_solve(pairs) if better else raw,
        low_ratio=low,
        high_ratio=high,
        models=len(pairs),
        families=len(families),
        held_out=held_out if better else held_out_raw,
        held_out_raw=held_out_raw,
        leave_one_model_out=_held_out(by_model) if better else held_out_raw,
        coverage=sum(low <= ratio <= high for ratio in ratios) / len(ratios),
        measured_on=origin.measured_on,
        measured_from=origin.measured_from,
        measured_to=origin.measured_to,
        versions=origin.versions,
        digest=digest(pairs),
        note="" if better else "The peak is the raw estimate: no correction did better on families left out.",
    )


def conformal_bounds(ratios: Sequence[float], level: float) -> tuple[float, float]:
    """Return the bounds that a new ratio stays within with probability `level`, if it is exchangeable with `ratios`.

    Order statistics at (n + 1)(1 - level) / 2 from either end. Raises CalibrationError where `ratios` are too few for
    the level: fewer than 2 / (1 - level) - 1.
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
    lines = sorted(f"{pair.model} {sorted(pair.measured_bytes.items())}" for pair in pairs)
    return sha256("\n".join(lines).encode()).hexdigest()


def _left_out(pairs: Sequence[Pair], key: Callable[[Pair], str]) -> list[tuple[Pair, Coefficients]]:
    """Return each pair with the coefficients of a fit that did not see any pair of the same `key`."""
    fits = {group: _solve([pair for pair in pairs if key(pair) != group]) for group in {key(pair) for pair in pairs}}
    return [(pair, fits[key(pair)]) for pair in pairs]


def _held_out(predicted: Sequence[tuple[Pair, Coefficients]]) -> HeldOut:
    errors = sorted(abs(pair.predict(used) / pair.measured_peak_bytes - 1) for pair, used in predicted)
    return HeldOut(median(errors), errors[ceil(0.95 * len(errors)) - 1], errors[-1])


def _solve(pairs: Sequence[Pair]) -> Coefficients:
    return {phase: _solve_phase(pairs, phase) for phase in PHASES}


def _solve_phase(pairs: Sequence[Pair], phase: str) -> dict[str, float]:
    try:
        import numpy as np
        from scipy.optimize import least_squares
    except ImportError:
        raise MissingExtraError("scipy", "calibrate", "Fitting a calibration") from None

    names = PARTS[phase]
    constant = names.index("constant")
    parts = np.array([[pair.parts[phase][name] for name in names] for pair in pairs], dtype=float)
    measured = np.array([pair.measured_bytes[phase] for pair in pairs], dtype=float)
    typical_bytes = float(np.median(measured))
    parts[:, constant] *= typical_bytes  # so that all unknowns are near one: the solver takes steps of one size

    def residuals(unknown: "Vector") -> "Vector":
        error: Vector = (parts @ unknown - measured) / measured
        return error

    start = np.ones(len(names))
    start[constant] = 0.0
    solved = least_squares(residuals, start, bounds=(0, inf), loss="soft_l1", f_scale=_ROBUST_SCALE).x
    solved[constant] *= typical_bytes
    # A part that no model has tells nothing: a coefficient for it would be the start's.
    return {name: float(solved[i]) if parts[:, i].any() else 0.0 for i, name in enumerate(names)}
