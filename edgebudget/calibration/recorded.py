"""The recorded measurements as pairs with today's estimates, grouped by what may be fitted together."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from edgebudget.calibration.conformal import outermost
from edgebudget.calibration.fit import DEFAULT_LEVEL, Fitter, Origin
from edgebudget.calibration.model import PHASES, Fit, parts_of
from edgebudget.calibration.pairs import Pair
from edgebudget.calibration.store import Calibrations
from edgebudget.errors import CalibrationError, EdgeBudgetError
from edgebudget.evidence import estimate_of, family_of, fixed_bytes, has_process, runtime_of, was_built_on
from edgebudget.measure.interface import Measurement, Provenance
from edgebudget.runtimes.interface import Unsupported


def origin_of(measurements: Iterable[Measurement], runtime: str, dtype: str) -> Origin:
    """Return where `measurements` come from.

    Raises CalibrationError where they mix instruction sets, processors, or versions of the runtime's packages: such
    figures do not belong in one fit.
    """
    provenances = [m.provenance for m in measurements]
    for what in ("isa", "cpu", "versions"):
        if len({str(getattr(p, what)) for p in provenances}) > 1:
            raise CalibrationError(
                f"The measurements of {runtime} {dtype} mix several {what}.", "Fit what was measured alike, each apart."
            )
    first = provenances[0]
    moments = sorted(p.measured_at for p in provenances)
    return Origin(runtime, dtype, first.isa, _machine(first), moments[0], moments[-1], first.versions)


def _machine(provenance: Provenance) -> str:
    """Return what people call the machine that was measured on."""
    board = provenance.board
    if board is None or not board.core:
        return provenance.cpu
    return f"{board.core}, emulated by {board.emulator}" if board.emulator else board.core


def pair_of(measurement: Measurement) -> Pair | None:
    """Return `measurement` beside its estimate's parts, the runtime's fixed cost taken off.

    None where the runtime model does not support the option, where the process says nothing of the model, and where
    nothing is left of the peak. Of eager PyTorch inference alone: what was measured built its model with random
    weights and loaded no file.
    Raises EdgeBudgetError where the model cannot be loaded or traced.
    """
    layout = estimate_of(measurement).layout
    if isinstance(layout, Unsupported) or not has_process(measurement):
        return None
    fixed = fixed_bytes(measurement, layout)
    measured: Mapping[str, int] = {
        "load": measurement.load_process_bytes - fixed,
        "inference": measurement.inference_process_bytes - fixed,
    }
    if measurement.observation.allocator is not None:
        measured = {"inference": measured["inference"]}
    if min(measured.values()) <= 0:
        return None
    subject = measurement.subject
    parts, least, most = (
        {phase: parts_of(of_process, phase) for phase in PHASES if phase in measured}
        for of_process in (layout, layout.of_least_process, layout.of_largest_process)
    )
    peaks = tuple(peak - fixed for peak in measurement.process_peaks_bytes) if "load" in measured else ()
    return Pair(
        f"{subject.model} {' '.join(subject.inputs)}",
        family_of(subject.model),
        parts,
        measured,
        peaks,
        built_on=was_built_on(subject.model),
        least_parts=least,
        most_parts=most,
    )


def fit_all(measurements: Iterable[Measurement], level: float, tell: Callable[[str], None]) -> tuple[Fit, ...]:
    """Return a fit for each runtime, dtype and instruction set that `measurements` support.

    Of several machines with one instruction set the one with the most measurements speaks for it, the first of equals;
    `tell` hears of it, and why a fit is left out.
    """
    return _fits(_fitters(measurements, level, tell), None, tell)


class LeavingOut:
    """The fits of all measurements but a family's, as `fit_all` makes them: what that family may be judged by.

    Nothing of such a fit has seen the family. Each is made when it is asked for, once.
    """

    def __init__(self, measurements: Iterable[Measurement], level: float = DEFAULT_LEVEL) -> None:
        self._fitters = _fitters(measurements, level, _unheard)
        self._made: dict[str, Calibrations] = {}

    def __call__(self, family: str) -> Calibrations:
        """Return the fits that did not see `family`, which may be one that was not measured."""
        if family not in self._made:
            self._made[family] = Calibrations(_fits(self._fitters, family, _unheard))
        return self._made[family]


def _unheard(sentence: str) -> None:
    """Say nothing: what is not fitted without one family was said of the fits of all."""


def _fits(fitters: Sequence[Fitter], but_family: str | None, tell: Callable[[str], None]) -> tuple[Fit, ...]:
    """Return the fits of all, none with an upper end below that of its runtime's errors in all dtypes and places."""
    seen: dict[str, list[tuple[float, float]]] = {}
    for fitter in fitters:
        seen.setdefault(fitter.origin.runtime, []).extend(fitter.ratios(but_family))
    highest = {runtime: outermost(ratios, fitters[0].level)[1] for runtime, ratios in seen.items() if ratios}
    fits = []
    for fitter in fitters:
        try:
            fits.append(fitter.fit(but_family, highest.get(fitter.origin.runtime, 0.0)))
        except CalibrationError as error:
            tell(f"{fitter.origin.runtime} {fitter.origin.dtype} is not fitted: {error}")
    return tuple(fits)


def _fitters(measurements: Iterable[Measurement], level: float, tell: Callable[[str], None]) -> tuple[Fitter, ...]:
    """Return what fits each runtime, dtype and instruction set, one machine each."""
    groups: dict[tuple[str, str, str], dict[str, list[tuple[Measurement, Pair]]]] = {}
    for measurement in measurements:
        try:
            pair = pair_of(measurement)
        except EdgeBudgetError as error:
            tell(f"{measurement.subject.model}: {error}")
            continue
        if pair is not None:
            where = measurement.provenance
            key = (runtime_of(measurement.subject.backend), measurement.subject.dtype, where.isa)
            groups.setdefault(key, {}).setdefault(where.cpu, []).append((measurement, pair))
    fitters = []
    for (runtime, dtype, isa), machines in sorted(groups.items()):
        cpu, members = max(machines.items(), key=lambda machine: len(machine[1]))
        if len(machines) > 1:
            tell(f"{runtime} {dtype} on {isa} is fitted to {cpu}, which has the most measurements of {len(machines)}.")
        try:
            origin = origin_of([measurement for measurement, _ in members], runtime, dtype)
        except CalibrationError as error:
            tell(f"{runtime} {dtype} is not fitted: {error}")
            continue
        fitters.append(Fitter([pair for _, pair in members], origin, level))
    return tuple(fitters)
