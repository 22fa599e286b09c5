"""The recorded measurements, each with the estimate that the code of today gives for it."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path

from edgebudget.calibration.store import Calibrations
from edgebudget.errors import CalibrationError, EdgeBudgetError
from edgebudget.estimation import MemoryEstimate, estimate
from edgebudget.graph import TracedGraph
from edgebudget.inputs import parse_input
from edgebudget.measure.interface import Measurement
from edgebudget.measure.records import parse_measurements
from edgebudget.measure.suite import SUITE
from edgebudget.runtimes.interface import Unsupported
from edgebudget.target import Target
from edgebudget.validation.calibrated import Judged
from edgebudget.validation.compare import Comparison, compare, runtime_of
from edgebudget.verdict import uncalibrated


def recorded_measurements(part: str) -> tuple[Measurement, ...]:
    """Return the measurements of a part of the suite that are committed with the package; raises CalibrationError."""
    path = files("edgebudget.calibration") / "data" / f"{part}.jsonl"
    return parse_measurements(path.read_text("utf-8"), str(path))


def read_measurements(paths: Iterable[Path]) -> tuple[Measurement, ...]:
    """Return the measurements in JSON-lines files; raises CalibrationError with the file and the line."""
    found: list[Measurement] = []
    for path in paths:
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise CalibrationError(
                f"The measurements {path} cannot be read: {reason}.", "Give a file that 'edgebudget measure' wrote."
            ) from error
        found += parse_measurements(text, str(path))
    return tuple(found)


def family_of(model: str) -> str:
    """Return the family that the suite files `model` under; one that it does not hold is a family of its own."""
    return next((entry.family for entry in SUITE if entry.model == model), model)


def estimate_of(measurement: Measurement) -> MemoryEstimate:
    """Return the estimate for what was measured, on the machine it was measured on; raises EdgeBudgetError."""
    target = Target(isa=measurement.provenance.isa)
    graph = _traced(measurement.subject.model, measurement.subject.inputs)
    return estimate(
        graph, dtype=measurement.subject.dtype, runtime=runtime_of(measurement.subject.backend), target=target
    )


def compared(measurements: Iterable[Measurement], part: str) -> Iterator[Comparison]:
    """Yield every figure of `measurements` beside its estimate; what cannot be estimated is left out."""
    for measurement in measurements:
        try:
            made = estimate_of(measurement)
        except EdgeBudgetError:
            continue
        yield from compare(measurement, made, family_of(measurement.subject.model), part)


def judged(measurements: Iterable[Measurement], calibrations: Calibrations) -> Iterator[Judged]:
    """Yield the interval that a check gives for each measurement, the runtime's own cost left out on both sides."""
    for measurement in measurements:
        try:
            made = estimate_of(measurement)
        except EdgeBudgetError:
            continue
        if isinstance(made.layout, Unsupported) or measurement.observation.allocator is not None:
            continue
        layout = replace(made.layout, runtime_bytes=0)
        isa = measurement.provenance.isa
        calibration = calibrations.find(made.runtime, made.dtype, isa)
        raw_peak_bytes = replace(made, layout=layout).raw_peak_bytes
        interval = calibration.interval(layout, isa) if calibration else uncalibrated(raw_peak_bytes)
        measured_bytes = max(measurement.load_process_bytes, measurement.inference_process_bytes)
        yield Judged(measurement.subject.model, made.runtime, made.dtype, measured_bytes, interval)


@cache
def _traced(model: str, inputs: tuple[str, ...]) -> TracedGraph:
    from edgebudget.sources import load_model
    from edgebudget.tracing import trace

    loaded = load_model(model, tuple(parse_input(text) for text in inputs))
    return trace(loaded.module, loaded.args, loaded.kwargs, name=loaded.name)
