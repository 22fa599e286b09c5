"""Measurements as lines: round trips, faults with their place, and the data that is committed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgebudget
from edgebudget.errors import CalibrationError, MeasurementError
from edgebudget.measure.campaign import failures_path
from edgebudget.measure.interface import (
    AllocatorCount,
    Artefact,
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
from edgebudget.measure.records import (
    failure_line,
    parse_failures,
    parse_measurements,
    parse_observation,
    to_json_line,
)
from edgebudget.measure.suite import JUDGED, KNOWN, SUITE, data_file

DATA = Path(edgebudget.__file__).parent / "calibration" / "data"

counts = st.integers(0, 2**50)
phases = st.builds(Phase, st.builds(HeapCount, *[counts] * 5), st.builds(ProcessCount, *[counts] * 3))
texts = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=20)
seconds = st.none() | st.floats(0, 1e6)
measurements = st.builds(
    Measurement,
    subject=st.builds(Subject, texts, st.just(("1x3x8x8:float32", "1x7:int64")), texts, texts),
    parameter_numel=counts,
    artefact=st.builds(
        Artefact,
        path=st.none(),
        nbytes=st.none() | st.integers(1, 2**50),
        export_seconds=seconds,
        lowering_seconds=seconds,
        planned_bytes=st.none() | st.lists(counts, max_size=3).map(tuple),
        delegate_count=st.none() | st.integers(0, 99),
        outside_ops=st.none() | st.dictionaries(texts, st.integers(1, 99), max_size=3),
        settings=st.dictionaries(texts, texts, max_size=3),
    ),
    observation=st.builds(
        Observation,
        st.builds(Phases, *[phases] * 4),
        st.none() | st.builds(AllocatorCount, *[counts] * 3),
        st.lists(st.builds(ProcessPeaks, counts, counts), max_size=4).map(tuple),
    ),
    provenance=st.builds(
        Provenance,
        measured_at=st.just("2026-01-02T03:04:05Z"),
        versions=st.dictionaries(texts, texts, max_size=3),
        isa=texts,
        cpu=texts,
        cpu_features=st.lists(texts, max_size=3).map(tuple),
        kernel=texts,
        libc=texts,
        allocator_settings=st.dictionaries(texts, texts, max_size=3),
        threads=st.integers(1, 64),
        runs=st.integers(2, 9),
        worker=texts,
    ),
)


def phase(heap_live: int, heap_peak: int, resident: int, high_water: int) -> Phase:
    return Phase(HeapCount(heap_live, heap_peak, 1, 0, 0), ProcessCount(high_water, resident - 1, 1))


SAMPLE = Measurement(
    Subject("mobilenet_v2", ("1x3x224x224:float32",), "executorch-xnnpack", "int8"),
    3_504_872,
    Artefact(nbytes=3_707_040, planned_bytes=(606_176,), delegate_count=1, outside_ops={}),
    Observation(
        Phases(phase(10, 11, 100, 101), phase(30, 47, 150, 190), phase(35, 52, 160, 170), phase(35, 40, 160, 161))
    ),
    Provenance(
        "2026-01-02T03:04:05Z", {"torch": "2"}, "x86-64", "a cpu", ("avx2",), "Linux", "glibc", {}, 1, 3, "a worker"
    ),
)


@settings(max_examples=30, deadline=None)
@given(measurements)
def test_a_line_comes_back_as_it_was(measurement: Measurement) -> None:
    line = to_json_line(measurement)
    assert "\n" not in line
    assert parse_measurements(f"{line}\n\n{line}\n") == (measurement, measurement)


def test_peaks_are_over_the_baseline() -> None:
    assert SAMPLE.load_heap_bytes == 47 - 10
    assert SAMPLE.inference_heap_bytes == 52 - 10
    assert SAMPLE.load_process_bytes == 190 - 100
    assert SAMPLE.inference_process_bytes == 170 - 100


def test_what_does_not_fit_the_schema_is_not_written() -> None:
    wrong = replace(SAMPLE, subject=replace(SAMPLE.subject, inputs=("224 by 224",)))
    with pytest.raises(MeasurementError, match=r"mobilenet_v2.*inputs\.0"):
        to_json_line(wrong)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda record: record.pop("phases"), r"data\.jsonl:2: the record: .*phases"),
        (lambda record: record.update(schema_version=2), r"data\.jsonl:2: schema_version"),
        (lambda record: record.update(note="x"), r"data\.jsonl:2: the record: .*note"),
        (lambda record: record["phases"]["load"]["heap"].update(peak_bytes=-1), r"phases\.load\.heap\.peak_bytes"),
        (lambda record: record["phases"]["load"]["heap"].update(peak_bytes=1.5), r"phases\.load\.heap\.peak_bytes"),
        (lambda record: record["provenance"].update(runs=1), r"provenance\.runs"),
    ],
)
def test_a_line_that_does_not_fit_is_named(change, match: str) -> None:
    line = to_json_line(SAMPLE)
    record = json.loads(line)
    change(record)
    with pytest.raises(CalibrationError, match=match):
        parse_measurements(f"{line}\n{json.dumps(record)}\n", "data.jsonl")


def test_a_line_that_is_not_json_is_named() -> None:
    with pytest.raises(CalibrationError, match=r"x:1: not JSON"):
        parse_measurements("{", "x")


@pytest.mark.parametrize("text", ["", "hello", "{}", '{"phases": {}}', '{"phases": {"baseline": {}}}', "[]", "null"])
def test_a_worker_that_prints_something_else_is_a_measurement_error(text: str) -> None:
    with pytest.raises(MeasurementError, match="printed no measurement"):
        parse_observation(text)


def test_failures_come_back_as_they_were() -> None:
    failures = (Failure(SAMPLE.subject, "No.\nReally."), Failure(replace(SAMPLE.subject, dtype="float32"), "é"))
    assert parse_failures("".join(failure_line(failure) + "\n" for failure in failures)) == failures


def test_the_split_is_by_family_and_fixed() -> None:
    assert not KNOWN & JUDGED
    families = {entry.family for entry in SUITE}
    assert families >= KNOWN | JUDGED
    assert len({entry.model for entry in SUITE}) == len(SUITE) >= 60
    for part in ("build", "judge"):
        assert {"cnn", "transformer", "segmentation", "recurrent"} <= {e.kind for e in SUITE if e.part == part}


@pytest.mark.parametrize("part", ["build", "judge"])
def test_recorded_data_belongs_to_its_part(part: str) -> None:
    path = data_file(DATA, part)
    recorded = [measurement.subject for measurement in parse_measurements(path.read_text(), path.name)]
    assert len(set(recorded)) == len(recorded) > 0
    mine = {subject for entry in SUITE if entry.part == part for subject in entry.subjects()}
    assert set(recorded) <= mine
    if failures_path(path).exists():
        failed = [failure.subject for failure in parse_failures(failures_path(path).read_text())]
        assert set(failed) <= mine - set(recorded)
