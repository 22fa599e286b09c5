"""The comparison of estimates with measurements, and the published table being what the code gives."""

from dataclasses import replace
from pathlib import Path

import pytest

from edgebudget.calibration.model import Interval
from edgebudget.calibration.recorded import LeavingOut, fit_all
from edgebudget.calibration.store import shipped, to_json
from edgebudget.cli import main
from edgebudget.evidence import family_of, has_process, recorded_measurements
from edgebudget.measure.interface import Measurement
from edgebudget.measure.suite import PARTS
from edgebudget.validation.calibrated import Judged, likely, pool, summarize_verdicts
from edgebudget.validation.compare import Comparison, summarize
from edgebudget.validation.table import baseline_table, error_table, overview_table, pooled_table
from tests import validated


def comparison(measured_bytes: int, estimated_bytes: int, model: str = "net") -> Comparison:
    return Comparison(model, "family", "judge", "pytorch", "float32", "load heap", measured_bytes, estimated_bytes)


def test_errors_are_summarized_by_size_and_biased_by_sign() -> None:
    # -10 %, 0 %, +5 %, +20 %: sizes 0, 5, 10, 20, so a median of 7.5 and a bias of 2.5
    four = [comparison(100, 90), comparison(100, 100), comparison(100, 105), comparison(100, 120, "worst")]
    (summary,) = summarize(four)
    assert (summary.count, summary.worst_model) == (4, "worst")
    assert [summary.median, summary.p95, summary.worst, summary.bias] == pytest.approx([0.075, 0.20, 0.20, 0.025])


def test_the_p95_of_twenty_is_the_second_worst() -> None:
    twenty = [comparison(100, 100 + error) for error in range(1, 21)]
    (summary,) = summarize(twenty)
    assert summary.p95 == pytest.approx(0.19)


def test_figures_of_different_runtimes_and_dtypes_stay_apart() -> None:
    mixed = [comparison(100, 100), replace(comparison(100, 50), dtype="int8"), replace(comparison(1, 2), figure="file")]
    assert [(s.dtype, s.figure, s.count) for s in summarize(mixed)] == [
        ("float32", "file", 1),
        ("float32", "load heap", 1),
        ("int8", "load heap", 1),
    ]


def test_a_verdict_is_false_when_the_peak_lies_above_the_interval() -> None:
    judged = [judged_of(measured, measured, measured) for measured in (89, 90, 110, 111)]
    assert [one.false_go for one in judged] == [False, False, False, True]
    assert [one.covered for one in judged] == [False, True, True, False]
    (verdicts,) = summarize_verdicts(judged)
    assert (verdicts.count, verdicts.covered, verdicts.false_go) == (4, 2, 1)


def judged_of(lowest: int, measured: int, highest: int) -> Judged:
    return Judged("net", "x86-64", "pytorch", "float32", lowest, measured, highest, Interval(90, 100, 110), 100)


def test_a_verdict_has_to_hold_for_every_process_that_was_measured() -> None:
    judged = [judged_of(89, 100, 110), judged_of(90, 100, 111), judged_of(90, 100, 110)]
    assert [one.covered for one in judged] == [False, False, True]
    assert [one.false_go for one in judged] == [False, True, False]


def test_verdicts_are_pooled_by_machine_and_all_together() -> None:
    here = [judged_of(measured, measured, measured) for measured in (89, 90, 110, 111)]
    there = [replace(here[1], machine="cortex-a72")]
    assert [(p.machine, p.count, p.covered, p.false_go) for p in pool([*here, *there])] == [
        ("x86-64", 4, 2, 1),
        ("cortex-a72", 1, 1, 0),
        ("all", 5, 3, 1),
    ]
    assert len(pool(here)) == 1
    assert "| x86-64 | 4 | 2 | 50.0% | 15.0% to 85.0% | 1 |" in pooled_table(pool(here))


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(50, 100, 0.4038, 0.5962), (90, 100, 0.8256, 0.9448), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0)],
)
def test_a_share_is_as_sure_as_its_trials_are_many(hits: int, count: int, low: float, high: float) -> None:
    assert likely(hits, count) == pytest.approx((low, high), abs=1e-4)  # Wilson (1927), as in any table of it


def test_tables_name_what_is_in_them() -> None:
    one = replace(comparison(100, 110), baselines=(("sum of tensors", 500),))
    assert "| x86-64 | pytorch | float32 | load heap | 1 | 10.0% | 10.0% | 10% (net) | +10.0% |" in error_table([one])
    assert "| x86-64 | pytorch | float32 | sum of tensors | 1 | 400.0% | 400% |" in baseline_table([one])
    assert "| x86-64 | pytorch | float32 | 1 | - | 10.0 / 10.0 | - | - | - | - |" in overview_table([one])


def test_the_readme_holds_the_table_that_the_code_gives() -> None:
    assert validated.README.read_text(encoding="utf-8") == validated.readme(), "python -m tests.write_gold"


def test_the_committed_validation_is_what_the_code_gives() -> None:
    assert validated.REPORT.read_text(encoding="utf-8") == validated.report(), "python -m tests.write_gold"


@pytest.mark.slow
def test_the_command_writes_the_committed_validation(tmp_path: Path) -> None:
    assert main(["validate", "--models", "-q", "--out", str(tmp_path / "validation.md")]) == 0
    assert (tmp_path / "validation.md").read_text(encoding="utf-8") == validated.REPORT.read_text(encoding="utf-8")


def measured_model(model: str, backend: str, dtype: str) -> Measurement:
    found = [m for m in recorded_measurements(*PARTS) if m.subject.model == model and m.subject.backend == backend]
    return next(m for m in found if m.subject.dtype == dtype)


def test_a_process_that_read_one_row_of_a_table_is_no_witness() -> None:
    texts, images = "edgebudget.measure.zoo:text_classifier", "mobilenet_v2"
    assert has_process(measured_model(images, "executorch-xnnpack", "float32"))
    assert not has_process(measured_model(texts, "executorch-xnnpack", "float32"))
    assert has_process(measured_model(texts, "onnxruntime", "float32"))  # which has the table in its heap
    assert has_process(measured_model(images, "pytorch-cpu", "float32"))
    assert not has_process(measured_model("resnet18", "pytorch-cpu", "int8-dynamic"))  # with torchao's code


def test_a_family_is_judged_by_fits_that_have_not_seen_it() -> None:
    here = [
        m for m in recorded_measurements(*PARTS) if (m.subject.backend, m.subject.dtype) == ("executorch", "float32")
    ]
    left_out = LeavingOut(here)
    (whole,) = fit_all(here, 0.9, lambda sentence: None)
    (others,) = left_out("squeezenet").fits
    apart = [m for m in here if family_of(m.subject.model) != "squeezenet"]
    assert fit_all(apart, 0.9, lambda sentence: None) == (others,)
    assert (whole.models - others.models, whole.unseen - others.unseen, whole.families - others.families) == (2, 2, 1)
    assert left_out("a family that was not measured").fits == (whole,)


def test_the_shipped_fits_are_what_the_recorded_measurements_give() -> None:
    told: list[str] = []
    fits = fit_all(recorded_measurements(*PARTS), 0.9, told.append)
    if shipped().fits or fits:
        assert to_json(fits) == to_json(shipped().fits), told
