"""Coefficients that bring estimates to measurements: least squares in a few shapes. Needs SciPy (extra `calibrate`)."""

from collections.abc import Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING

from edgebudget.calibration.model import FLOOR_BYTES, PARTS, PHASES, raw_coefficients
from edgebudget.calibration.pairs import Pair
from edgebudget.errors import MissingExtraError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

_ROBUST_SCALE = 0.05  # residuals beyond 5 % of the measured peak count linearly, not squared: outliers do not steer

Coefficients = Mapping[str, Mapping[str, float]]
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


class Solver:
    """The coefficients that some of `pairs` support: non-negative least squares on relative residuals, soft-L1 loss.

    What is asked for twice is solved once: leaving families out of fits that themselves left one out asks for every two
    families in both orders.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = tuple(pairs)
        self._problems: dict[tuple[str, Groups], _Problem] = {}
        self._solved: dict[tuple[str, Groups, frozenset[str]], Mapping[str, float]] = {}

    def coefficients(self, shape: str, without: frozenset[str] = frozenset()) -> Coefficients:
        """Return those in `shape`, one of SHAPES, of all pairs but the models `without`, by phase and part.

        A phase that none of them measured keeps the raw estimate's.
        """
        return {phase: self._phase(phase, SHAPES[shape][phase], without) for phase in PHASES}

    def _phase(self, phase: str, groups: Groups, without: frozenset[str]) -> Mapping[str, float]:
        if (phase, groups) not in self._problems:
            pairs = [pair for pair in self._pairs if phase in pair.parts]
            self._problems[phase, groups] = _Problem(pairs, phase, groups)
        key = (phase, groups, without)
        if key not in self._solved:
            solved = self._problems[phase, groups].solve(without)
            self._solved[key] = raw_coefficients()[phase] if solved is None else solved
        return self._solved[key]


class _Problem:
    """One phase of some pairs, with the groups of its parts: a row of relative sizes for each pair."""

    def __init__(self, pairs: Sequence[Pair], phase: str, groups: Groups) -> None:
        try:
            import numpy as np
        except ImportError:
            raise MissingExtraError("scipy", "calibrate", "Fitting a calibration") from None

        self._models = [pair.model for pair in pairs]
        self._phase = phase
        self._groups = groups
        measured = np.array([pair.measured_bytes[phase] for pair in pairs], dtype=float)
        sums = [[sum(pair.parts[phase][name] for name in group) for group in groups] for pair in pairs]
        parts = np.array(sums, dtype=float).reshape(len(pairs), len(groups))
        self._constants = np.array([group == ("constant",) for group in groups])
        parts[:, self._constants] *= FLOOR_BYTES  # so that all unknowns are near one: the solver's steps have one size
        self._parts = parts / (measured + FLOOR_BYTES)[:, None]
        self._wanted = measured / (measured + FLOOR_BYTES)

    def solve(self, without: frozenset[str]) -> dict[str, float] | None:
        """Return the coefficients of the phase by part that all but the models `without` support, None where none is
        left."""
        try:
            import numpy as np
            from scipy.optimize import least_squares
        except ImportError:
            raise MissingExtraError("scipy", "calibrate", "Fitting a calibration") from None

        kept = np.array([model not in without for model in self._models], dtype=bool)
        if not kept.any():
            return None
        parts, wanted = self._parts[kept], self._wanted[kept]

        def residuals(unknown: "Vector") -> "Vector":
            error: Vector = parts @ unknown - wanted
            return error

        start = np.where(self._constants, 0.0, 1.0)
        solved = least_squares(
            residuals, start, jac=lambda _: parts, bounds=(0, inf), loss="soft_l1", f_scale=_ROBUST_SCALE
        ).x
        solved[self._constants] *= FLOOR_BYTES
        # A part that no model has tells nothing: a coefficient for it would be the start's.
        told = [i for i in range(len(self._groups)) if parts[:, i].any()]
        found = {name: float(solved[i]) for i in told for name in self._groups[i]}
        return {name: found.get(name, 0.0) for name in PARTS[self._phase]}
