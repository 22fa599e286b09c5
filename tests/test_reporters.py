"""Every format: the same integers, no harm from odd names, and the verdict where people look first."""

import csv
import io
import json
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from html.parser import HTMLParser
from importlib.resources import files
from xml.etree import ElementTree as ET

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from edgebudget.figures.parts import peak_parts
from edgebudget.labels import LABELS
from edgebudget.printable import one_line
from edgebudget.report import Report, ReportError, chosen
from edgebudget.reporters import REPORTERS
from edgebudget.reporters._parts import shared_reasons
from edgebudget.reporters.csv import frame
from edgebudget.reporters.md import escape
from edgebudget.runtimes.interface import PeakOp
from edgebudget.verdict import CheckResult, Decision
from tests.handmade import ERROR, GO_RESULT, GOLD, REPORT, SHORT_RESULT, UNSUPPORTED_RESULT, report

INTEGERS = tuple(LABELS)
Numbers = dict[tuple[str, str], int | None]

# The contract's keys in the contract's order, word for word.
CONTRACT_KEYS = """
model device runtime dtype batch inputs decision reasons recommended parameter_numel buffer_numel activation_peak_numel
parameter_bytes buffer_bytes activation_lower_bound_bytes activation_bytes activation_total_bytes workspace_bytes
runtime_bytes load_heap_bytes inference_heap_bytes load_mapped_bytes inference_mapped_bytes load_peak_bytes
inference_peak_bytes raw_peak_bytes peak_bytes peak_low_bytes peak_high_bytes calibration budget_bytes headroom_bytes
storage_bytes storage_budget_bytes peak_op unmodelled_ops
""".split()


def expected(source: Report) -> Numbers:
    return {(result.dtype, key): getattr(result, key) for result in source.results for key in INTEGERS}


def from_json(text: str) -> Numbers:
    return {(result["dtype"], key): result[key] for result in json.loads(text)["results"] for key in INTEGERS}


def from_csv(text: str) -> Numbers:
    rows = [row for row in csv.DictReader(io.StringIO(text)) if row["dtype"]]
    return {(row["dtype"], key): int(row[key]) if row[key] else None for row in rows for key in INTEGERS}


def from_markdown(text: str) -> Numbers:
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line.startswith("|")
    ]
    head = next(row for row in rows if row[0] == "Part")
    by_label = {row[0]: row[1:] for row in rows}
    numbers: Numbers = {}
    for key, label in LABELS.items():
        for dtype, cell in zip(head[1:], by_label[label], strict=True):
            digits = cell.split(" (")[0].replace(",", "").strip()
            numbers[dtype, key] = int(digits) if digits else None
    return numbers


class Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.values: dict[str, list[str]] = {}
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        if "data-key" in given:
            self.values.setdefault(given["data-key"] or "", []).append(given["data-value"] or "")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed_html(text: str) -> Cells:
    cells = Cells()
    cells.feed(text)
    return cells


def from_html(text: str) -> Numbers:
    values = parsed_html(text).values
    dtypes = [result.dtype for result in REPORT.results]
    return {
        (dtype, key): int(value) if value else None
        for key in INTEGERS
        for dtype, value in zip(dtypes, values[key], strict=True)
    }


def from_junit(text: str) -> Numbers:
    properties = {p.get("name"): int(p.get("value", "")) for p in ET.fromstring(text).iter("property")}
    return {(r.dtype, key): properties.get(f"{r.runtime}.{r.dtype}.{key}") for r in REPORT.results for key in INTEGERS}


@pytest.mark.parametrize(
    ("name", "parse"),
    [("json", from_json), ("csv", from_csv), ("md", from_markdown), ("html", from_html), ("junit", from_junit)],
)
def test_formats_carry_the_same_integers(name: str, parse) -> None:
    assert parse(REPORTERS.get(name).render(REPORT)) == expected(REPORT)


def test_text_shows_how_the_number_is_made() -> None:
    text = REPORTERS.get("text").render(REPORT)
    assert text.startswith("ERROR: 1 of 1")
    for shown in ("3,504,872 x 4 bytes", "14,019,488", "2,408,448 x 4", "9,936,896", "conv2d in features.1.conv.0",
                  "+2,000,000,001", "take float32", "not calibrated", "Did you mean mobilenet_v2?"):  # fmt: skip
        assert shown in text


@pytest.mark.parametrize("name", REPORTERS.names())
def test_format_contract(name: str) -> None:
    reporter = REPORTERS.get(name)
    assert reporter.name == name
    assert re.fullmatch(r"\.[a-z]+", reporter.suffix)
    first = reporter.render(REPORT)
    assert first == reporter.render(REPORT)
    assert first.endswith("\n")
    assert not first.endswith("\n\n")
    assert str(Decision.NO_GO) in first
    assert reporter.render(report(errors=(ERROR,)))
    assert reporter.render(report(GO_RESULT))


def test_formats_have_suffixes_of_their_own() -> None:
    suffixes = [reporter.suffix for _, reporter in REPORTERS]
    assert len(suffixes) == len(set(suffixes)) == 6


def test_json_has_the_contracts_keys_in_its_order() -> None:
    document = json.loads(REPORTERS.get("json").render(REPORT))
    assert list(document) == ["schema_version", "tool", "decision", "generated_at", "results", "errors"]
    assert document["schema_version"] == 1
    assert document["tool"] == {"name": "edgebudget", "version": "0.0.0"}
    for result in document["results"]:
        assert list(result) == CONTRACT_KEYS
    assert document["results"][0]["peak_op"] == {"index": 4, "name": "conv2d", "module": "features.1.conv.0"}
    assert document["results"][2]["peak_op"] is None
    assert document["errors"] == [{"model": ERROR.model, "device": None, "message": ERROR.message, "hint": ERROR.hint}]


def test_json_schema_accepts_reports_and_refuses_others() -> None:
    schema = json.loads(files("edgebudget.reporters").joinpath("schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    document = json.loads(REPORTERS.get("json").render(REPORT))
    validator.validate(document)
    assert list(schema["$defs"]["result"]["properties"]) == CONTRACT_KEYS
    for broken in (
        document | {"schema_version": 2},
        document | {"more": 1},
        document | {"results": [document["results"][0] | {"peak_bytes": 1.5}]},
        document | {"results": [document["results"][0] | {"decision": "MAYBE"}]},
        document | {"results": [{k: v for k, v in document["results"][0].items() if k != "dtype"}]},
    ):
        assert not validator.is_valid(broken)


def test_check_result_is_the_contract() -> None:
    assert [field.name for field in fields(CheckResult)] == CONTRACT_KEYS


def test_csv_names_its_columns_as_the_json_keys() -> None:
    header = REPORTERS.get("csv").render(REPORT).splitlines()[0].split(",")
    at = CONTRACT_KEYS.index("peak_op")
    nested = ["peak_op_index", "peak_op_name", "peak_op_module"]
    assert header == [*CONTRACT_KEYS[:at], *nested, *CONTRACT_KEYS[at + 1 :]]


def test_frame_keeps_integers_whole() -> None:
    table = frame(REPORT)
    assert len(table) == 4
    assert table["peak_bytes"].dtype == "Int64"
    assert table["peak_bytes"].sum() == 2 * GO_RESULT.peak_bytes
    assert table["headroom_bytes"].min() == -123_456_789
    assert list(table["decision"]) == ["GO", "NO-GO", "UNSUPPORTED", "ERROR"]
    assert pd.isna(table["batch"].iloc[3])


NASTY = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "line\nbreak | pipe \\| and `code`",
    "\r\x1b[31mred\x07\x00\ufffe\ud800",
    "{{ 7*7 }}{% for %}",
    "\u202egnp.exe",
    "🤖 größe 模型",
    "]]>&amp;<!--",
    "__init__ *bold* [link](javascript:1)",
    "m" * 200,
)


def nasty_report(name: str) -> Report:
    result = replace(
        GO_RESULT,
        model=name,
        device=name,
        runtime=name,
        dtype=name,
        inputs=(name,),
        reasons=(name,),
        calibration=name,
        peak_op=PeakOp(0, name, name),
        unmodelled_ops=(name,),
    )
    return report(result, errors=(ReportError(name, name, name, name),))


@pytest.mark.parametrize("name", NASTY)
def test_names_do_no_harm_in_json(name: str) -> None:
    text = REPORTERS.get("json").render(nasty_report(name))
    assert text.isascii()
    assert json.loads(text)["results"][0]["model"] == name


@pytest.mark.parametrize("name", NASTY)
def test_names_do_no_harm_in_csv(name: str) -> None:
    text = REPORTERS.get("csv").render(nasty_report(name))
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(text.splitlines()) == 1 + len(rows) == 3
    for row in rows:
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row.values())
    assert rows[0]["model"] in (one_line(name), "'" + one_line(name))


@pytest.mark.parametrize("name", NASTY)
def test_names_do_no_harm_in_html(name: str) -> None:
    text = REPORTERS.get("html").render(nasty_report(name))
    clean = REPORTERS.get("html").render(nasty_report("plain"))
    assert parsed_html(text).tags == parsed_html(clean).tags
    assert not any(ord(char) < 32 and char != "\n" for char in text)
    assert f"{one_line(name)} on {one_line(name)}" in "".join(parsed_html(text).text)


@pytest.mark.parametrize("name", NASTY)
def test_names_do_no_harm_in_markdown(name: str) -> None:
    text = REPORTERS.get("md").render(nasty_report(name))
    clean = REPORTERS.get("md").render(nasty_report("plain"))
    assert len(text.splitlines()) == len(clean.splitlines())
    for line, clean_line in zip(text.splitlines(), clean.splitlines(), strict=True):
        assert len(re.findall(r"(?<!\\)\|", line)) == clean_line.count("|")
    assert "<" not in text


@pytest.mark.parametrize("name", NASTY)
def test_names_do_no_harm_in_junit(name: str) -> None:
    root = ET.fromstring(REPORTERS.get("junit").render(nasty_report(name)))
    assert len(list(root.iter("testcase"))) == 2


@pytest.mark.parametrize("name", NASTY)
def test_names_do_no_harm_in_text(name: str) -> None:
    text = REPORTERS.get("text").render(nasty_report(name))
    assert not any(ord(char) < 32 and char != "\n" for char in text)
    assert "\u202e" not in text


@given(st.text(max_size=40))
def test_any_name_round_trips_through_json_and_parses_as_xml(name: str) -> None:
    source = nasty_report(name)
    assert json.loads(REPORTERS.get("json").render(source))["results"][0]["model"] == name
    ET.fromstring(REPORTERS.get("junit").render(source))


def test_text_fits_80_columns() -> None:
    from rich.cells import cell_len

    long = replace(GO_RESULT, model="🤖" * 100, dtype="int8-weight-only")
    text = REPORTERS.get("text").render(report(long, SHORT_RESULT, UNSUPPORTED_RESULT, GO_RESULT, errors=(ERROR,)))
    assert max(map(cell_len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("numel", "nbytes", "said"),
    [
        (10, 40, "10 x 4 bytes"),
        (1_000, 1_500, "1,000 x 1.500 bytes in the mean"),
        (0, 0, "none"),
        (0, 9, "not counted in elements"),
    ],
)
def test_text_multiplies_elements_by_bytes(numel: int, nbytes: int, said: str) -> None:
    result = replace(GO_RESULT, buffer_numel=numel, buffer_bytes=nbytes)
    line = next(x for x in REPORTERS.get("text").render(report(result)).splitlines() if x.startswith("  buffers"))
    assert said in line


def test_text_explains_only_what_is_not_go_of_many_pairs() -> None:
    going = [replace(GO_RESULT, model=f"good{i}") for i in range(10)]
    short = replace(SHORT_RESULT, model="bad")
    few = REPORTERS.get("text").render(report(*going[:9], short))
    many = REPORTERS.get("text").render(report(*going, short))
    assert "good0 on raspberrypi: GO" in few
    assert "good0 on raspberrypi: GO" not in many
    assert "bad on raspberrypi: NO-GO" in many
    assert "The numbers of 10 pairs that are GO are left out here" in many


def test_html_loads_and_runs_nothing() -> None:
    text = REPORTERS.get("html").render(REPORT)
    assert {"script", "link", "iframe", "img"}.isdisjoint(parsed_html(text).tags)
    assert "http://" not in text
    assert "https://" not in text
    assert "prefers-color-scheme" in text
    assert 'name="viewport"' in text


def test_junit_fails_where_no_option_goes() -> None:
    root = ET.fromstring(
        REPORTERS.get("junit").render(report(replace(SHORT_RESULT, model="big"), GO_RESULT, errors=(ERROR,)))
    )
    assert root.attrib == {"name": "edgebudget", "tests": "3", "failures": "1", "errors": "1"}
    outcome = {case.get("name"): [child.tag for child in case] for case in root.iter("testcase")}
    assert "failure" in outcome["big"]
    assert "failure" not in outcome["mobilenet_v2"]
    assert outcome["mobilenet_v22"] == ["error"]


@pytest.mark.parametrize("result", [GO_RESULT, SHORT_RESULT])
def test_parts_sum_to_the_peak(result: CheckResult) -> None:
    parts: Mapping[str, int] = dict(peak_parts(result))
    assert sum(parts.values()) == result.raw_peak_bytes
    assert all(nbytes >= 0 for nbytes in parts.values())


def test_no_parts_without_numbers() -> None:
    assert peak_parts(UNSUPPORTED_RESULT) == []


def test_chosen_is_the_recommended_else_the_best() -> None:
    assert chosen([UNSUPPORTED_RESULT, SHORT_RESULT, GO_RESULT]) is GO_RESULT
    assert chosen([UNSUPPORTED_RESULT, SHORT_RESULT]) is SHORT_RESULT


def test_shared_reasons_say_each_once() -> None:
    first = replace(GO_RESULT, reasons=("a", "b"))
    second = replace(SHORT_RESULT, reasons=("b", "c"))
    assert shared_reasons([first, second]) == [("float32", "a"), ("float32, int8", "b"), ("int8", "c")]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("mobilenet_v2", "mobilenet_v2"),
        ("a|b", r"a\|b"),
        ("<b>", "&lt;b&gt;"),
        ("a\nb", r"a\\nb"),
        ("_x_", r"\_x\_"),
        ("&", "&amp;"),
    ],
)
def test_markdown_escapes(name: str, shown: str) -> None:
    assert escape(name) == shown


@pytest.mark.parametrize("name", REPORTERS.names())
def test_gold(name: str) -> None:
    """The whole of each format, as it was last read by a person: `python -m tests.write_gold` writes them anew."""
    reporter = REPORTERS.get(name)
    gold = GOLD / f"report{reporter.suffix}"
    assert reporter.render(REPORT) == gold.read_text(encoding="utf-8")
