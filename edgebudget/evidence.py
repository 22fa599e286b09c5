"""Recorded measurements, and the estimate that the code of today gives for each: what is fitted and what is judged."""

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path

from edgebudget.errors import CalibrationError
from edgebudget.estimation import MemoryEstimate, estimate
from edgebudget.graph import TracedGraph
from edgebudget.inputs import parse_input
from edgebudget.measure.interface import Measurement
from edgebudget.measure.records import parse_measurements
from edgebudget.measure.suite import SUITE
from edgebudget.target import Target

RUNTIME_OF = {"pytorch-cpu": "pytorch"}
"""Backends that measure a runtime of another name; the others are called alike."""


def runtime_of(backend: str) -> str:
    """Return the name of the runtime that a measuring backend speaks for."""
    return RUNTIME_OF.get(backend, backend)


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


@cache
def _traced(model: str, inputs: tuple[str, ...]) -> TracedGraph:
    from edgebudget.sources import load_model
    from edgebudget.tracing import trace

    loaded = load_model(model, tuple(parse_input(text) for text in inputs))
    return trace(loaded.module, loaded.args, loaded.kwargs, name=loaded.name)
