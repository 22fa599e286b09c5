"""What grew since an earlier report: by whole bytes, up to the limit and one byte beyond it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from edgebudget.errors import BaselineError
from edgebudget.growth import grown
from edgebudget.report import Report, exit_code
from edgebudget.reporters import REPORTERS
from edgebudget.reporters.json import parse
from edgebudget.verdict import CheckResult
from tests.handmade import GO_RESULT, GOLD, REPORT, UNSUPPORTED_RESULT, report

BEFORE = replace(GO_RESULT, peak_bytes=1_000, storage_bytes=200)


def after(**changes: object) -> CheckResult:
    return replace(BEFORE, **changes)  # type: ignore[arg-type]


def with_growth(now: CheckResult, percent: float = 5.0) -> Report:
    return replace(report(now), growth=grown("b.json", [BEFORE], [now], percent))


@pytest.mark.parametrize(
    ("now", "percent", "too_much"),
    [
        (1_000, 0, False),
        (1_001, 0, True),
        (1_050, 5, False),
        (1_051, 5, True),
        (1_001, 0.1, False),
        (1_002, 0.1, True),
        (1, 0, False),
        (2_000, 100, False),
        (2_001, 100, True),
    ],
)
def test_the_limit_is_held_to_the_byte(now: int, percent: float, too_much: bool) -> None:
    source = with_growth(after(peak_bytes=now), percent)
    assert source.growth is not None
    assert bool(source.growth.too_much) is too_much
    assert exit_code(source, allow_marginal=False) == int(too_much)


def test_what_was_nothing_has_grown_beyond_any_limit() -> None:
    growth = grown("b.json", [after(storage_bytes=0)], [after(storage_bytes=1)], 100)
    assert [change.figure for change in growth.too_much] == ["storage_bytes"]
    assert "(+1 bytes)" in str(growth.too_much[0])


def test_a_change_says_what_made_it() -> None:
    now = after(peak_bytes=1_200, parameter_bytes=BEFORE.parameter_bytes + 150, workspace_bytes=0)
    growth = grown("b.json", [BEFORE], [now])
    assert growth.headline == "1 figure grew by more than 5 % since b.json."
    assert str(growth.changes[0]) == (
        "mobilenet_v2 on raspberrypi, pytorch, float32: Peak after calibration 1000 B -> 1.17 KiB "
        "(+20.00 %, +200 bytes): Parameters +150 B; Workspace -1.00 MiB."
    )


def test_the_largest_growth_comes_first_and_what_shrank_last() -> None:
    now = [after(peak_bytes=900, storage_bytes=300), replace(BEFORE, dtype="int8", peak_bytes=5_000)]
    growth = grown("b.json", [BEFORE, replace(BEFORE, dtype="int8")], now)
    assert [(change.dtype, change.figure) for change in growth.changes] == [
        ("int8", "peak_bytes"),
        ("float32", "storage_bytes"),
        ("float32", "peak_bytes"),
    ]


def test_options_without_a_counterpart_are_told_and_do_not_fail() -> None:
    growth = grown("b.json", [BEFORE, UNSUPPORTED_RESULT], [BEFORE, replace(BEFORE, dtype="int8"), UNSUPPORTED_RESULT])
    assert not growth.changes
    assert growth.notes == ("1 of 3 options do not stand in b.json.",)
    nothing = grown("b.json", [BEFORE], [after(model="other")])
    assert nothing.headline == "Nothing to compare: no option asked for stands in b.json."


def test_other_inputs_and_calibrations_are_told() -> None:
    growth = grown("b.json", [BEFORE], [after(inputs=("2x3x224x224:float32",), calibration="x")])
    assert growth.notes == (
        "mobilenet_v2 takes other inputs than in b.json: 2x3x224x224:float32, not 1x3x224x224:float32.",
        "The peaks of pytorch, float32 are not calibrated as in b.json.",
    )


def test_a_report_reads_back_as_it_was_written() -> None:
    assert parse(REPORTERS.get("json").render(REPORT), "x") == REPORT


def document(change: Callable[[dict[str, object]], object]) -> str:
    made = json.loads((GOLD / "report.json").read_text(encoding="utf-8"))
    change(made)
    return json.dumps(made)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON: Expecting value"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON: nested too deeply"),
        ("[]", "the document: [] is not of type 'object'"),
        ("null", "the document: None is not of type 'object'"),
        ('{"name": "something else"}', "is a required property"),
        (document(lambda d: d.update(schema_version=2)), "schema_version: 1 was expected"),
        (document(lambda d: d["results"][0].update(peak_bytes=1.5)), "results.0.peak_bytes: 1.5 is not of type"),
        (document(lambda d: d["results"][0].update(peak_bytes=float("nan"))), "results.0.peak_bytes: nan"),
        (document(lambda d: d["tool"].update(name="other")), "tool.name: 'edgebudget' was expected"),
        (document(lambda d: d.update(results="x" * 10_000)), "results: "),
    ],
)
def test_what_is_no_report_is_one_sentence(text: str, said: str) -> None:
    with pytest.raises(BaselineError) as caught:
        parse(text, "b.json")
    assert caught.value.message.startswith("b.json: ")
    assert said in caught.value.message
    assert len(caught.value.message) < 300
    assert "\n" not in str(caught.value)
    assert caught.value.hint == "Write one with: edgebudget check ... --format json --baseline none"


@pytest.mark.parametrize("name", ["text", "md", "html", "junit", "github"])
def test_reports_for_people_say_what_grew(name: str) -> None:
    rendered = REPORTERS.get(name).render(with_growth(after(peak_bytes=1_200)))
    assert "grew by more than 5 % since b.json" in rendered.replace("\\", "").replace("%25", "%") or name == "junit"
    assert "+200 bytes" in rendered.replace("\\", "")


def test_junit_has_a_case_for_the_growth() -> None:
    root = ET.fromstring(REPORTERS.get("junit").render(with_growth(after(peak_bytes=1_200))))
    assert (root.get("tests"), root.get("failures")) == ("2", "1")
    case = next(case for case in root.iter("testcase") if case.get("name") == "mobilenet_v2: growth")
    assert [child.get("type") for child in case] == ["GROWTH"]


@pytest.mark.parametrize("name", ["json", "csv"])
def test_documents_with_a_schema_stay_as_they_are(name: str) -> None:
    reporter = REPORTERS.get(name)
    assert reporter.render(with_growth(BEFORE)) == reporter.render(report(BEFORE))


def test_the_part_of_a_device_has_its_own_growth() -> None:
    other = replace(BEFORE, device="d")
    source = replace(
        report(BEFORE, other), growth=grown("b.json", [BEFORE, other], [BEFORE, after(device="d", peak_bytes=9_000)])
    )
    assert source.for_device("raspberrypi").growth.too_much == ()
    assert len(source.for_device("d").growth.too_much) == 1


def test_gold_is_a_report_of_this_schema() -> None:
    assert parse((Path(GOLD) / "report.json").read_text(encoding="utf-8"), "gold").results == REPORT.results
