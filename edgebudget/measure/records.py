"""Measurements as JSON lines, checked against `schema.json` when written and when read."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from edgebudget.errors import MeasurementError
from edgebudget.measure.interface import (
    SCHEMA_VERSION,
    AllocatorCount,
    Artefact,
    Board,
    Failure,
    HeapCount,
    Measurement,
    Observation,
    Phase,
    Phases,
    ProcessCount,
    ProcessPeaks,
    Provenance,
    Subject,
)
from edgebudget.measure.lines import fault as fault_of
from edgebudget.measure.lines import records

_SCHEMA = Path(__file__).parent / "schema.json"


def to_json_line(measurement: Measurement) -> str:
    """Return one line, without its end; raises MeasurementError when the schema does not hold."""
    artefact = asdict(measurement.artefact)
    del artefact["path"]  # where it lay means nothing to a reader
    record = {
        "schema_version": SCHEMA_VERSION,
        **asdict(measurement.subject),
        "parameter_numel": measurement.parameter_numel,
        "artefact": artefact,
        "phases": asdict(measurement.observation.phases),
        "allocator": asdict(measurement.observation.allocator) if measurement.observation.allocator else None,
        "repeats": [asdict(peaks) for peaks in measurement.observation.repeats],
        "provenance": asdict(measurement.provenance),
    }
    plain = json.loads(json.dumps(record))
    fault = fault_of(plain, _SCHEMA)
    if fault:
        raise MeasurementError(f"The measurement of {measurement.subject.model!r} does not fit the schema: {fault}")
    return json.dumps(plain, separators=(",", ":"))


def parse_measurements(text: str, where: str = "measurements") -> tuple[Measurement, ...]:
    """Return the measurements in `text`, one a line, empty lines left out.

    Raises CalibrationError, which starts with `where` and the line's number, when a line is not JSON or does not fit.
    """
    return tuple(_measurement(record) for record in records(text, where, _SCHEMA))


def parse_observation(text: str) -> Observation:
    """Return what a worker printed; raises MeasurementError when that is not one JSON object of the expected shape."""
    try:
        return _observation(json.loads(text))
    except (ValueError, KeyError, TypeError) as error:
        raise MeasurementError(f"The worker printed no measurement, but {text[:200]!r} ({error}).") from error


def failure_line(failure: Failure) -> str:
    """Return one line, without its end."""
    board = asdict(failure.board) if failure.board else None
    return json.dumps({**asdict(failure.subject), "reason": failure.reason, "board": board}, separators=(",", ":"))


def parse_failures(text: str) -> tuple[Failure, ...]:
    """Return the failures in `text`, one a line."""
    failures = []
    for line in filter(str.strip, text.splitlines()):
        record = json.loads(line)
        failures.append(Failure(_subject(record), record["reason"], _board(record)))
    return tuple(failures)


# What follows reads records that the schema has accepted: naming their types would only repeat it.


def _measurement(record: Mapping) -> Measurement:  # type: ignore[type-arg]
    artefact = record["artefact"]
    planned = artefact["planned_bytes"]
    provenance = record["provenance"]
    return Measurement(
        subject=_subject(record),
        parameter_numel=record["parameter_numel"],
        artefact=Artefact(**{**artefact, "planned_bytes": None if planned is None else tuple(planned)}),
        observation=_observation(record),
        provenance=Provenance(
            **{**provenance, "cpu_features": tuple(provenance["cpu_features"]), "board": _board(provenance)}
        ),
    )


def _subject(record: Mapping) -> Subject:  # type: ignore[type-arg]
    return Subject(record["model"], tuple(record["inputs"]), record["backend"], record["dtype"])


def _board(record: Mapping) -> Board | None:  # type: ignore[type-arg]
    board = record.get("board")  # lines written before there were boards do not have it
    return Board(**board) if board else None


def _observation(record: Mapping) -> Observation:  # type: ignore[type-arg]
    phases = {
        name: Phase(HeapCount(**phase["heap"]), ProcessCount(**phase["process"]))
        for name, phase in record["phases"].items()
    }
    allocator = record.get("allocator")
    repeats = tuple(ProcessPeaks(**peaks) for peaks in record.get("repeats", ()))  # older lines are of one process
    return Observation(Phases(**phases), AllocatorCount(**allocator) if allocator else None, repeats)
