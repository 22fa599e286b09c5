"""Annotations as a runner reads them, and the summary of a step."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebudget.cli import github
from edgebudget.errors import OutputError
from edgebudget.printable import one_line
from edgebudget.report import ReportError
from edgebudget.reporters import REPORTERS
from edgebudget.verdict import Decision
from tests.handmade import ERROR, GO_RESULT, REPORT, SHORT_RESULT, report, with_decision

COMMAND = re.compile(r"::(?P<command>\w+) (?P<properties>[^:\r\n]*)::(?P<message>[^\r\n]*)")


def unescaped(text: str) -> str:
    """Undo the escapes as a runner does: one after the other, that of the percent sign last."""
    for code, char in (("%3A", ":"), ("%2C", ","), ("%0A", "\n"), ("%0D", "\r"), ("%25", "%")):
        text = text.replace(code, char)
    return text


def read(text: str) -> list[tuple[str, dict[str, str], str]]:
    """Read workflow commands as a runner does: a line each, properties up to the next `::`, joined by commas."""
    commands = []
    for line in text.splitlines():
        found = COMMAND.fullmatch(line)
        assert found, line
        pairs = (pair.split("=", 1) for pair in found["properties"].split(","))
        properties = {key: unescaped(value) for key, value in pairs}
        commands.append((found["command"], properties, unescaped(found["message"])))
    return commands


def rendered(*results, errors=()) -> list[tuple[str, dict[str, str], str]]:
    return read(REPORTERS.get("github").render(report(*results, errors=errors)))


def test_what_does_not_fit_is_an_error_beside_its_file() -> None:
    short = replace(SHORT_RESULT, model="nets/a,b.py:make", reasons=("50% short: 1 byte.", "More."))
    error, notice = rendered(short)
    assert error == (
        "error",
        {"file": "nets/a,b.py", "title": "NO-GO: nets/a,b.py:make on raspberrypi"},
        "int8 on pytorch:\n50% short: 1 byte.\nMore.",
    )
    assert notice[0] == "notice"
    assert notice[2].startswith("NO-GO: 0 of 1")


@pytest.mark.parametrize(
    ("decision", "level"),
    [
        (Decision.NO_GO, "error"),
        (Decision.UNSUPPORTED, "error"),
        (Decision.ERROR, "error"),
        (Decision.MARGINAL, "warning"),
    ],
)
def test_levels(decision: Decision, level: str) -> None:
    assert [command for command, _, _ in rendered(with_decision(decision))] == [level, "notice"]


def test_what_fits_is_told_once_for_all() -> None:
    assert rendered(GO_RESULT) == [
        ("notice", {"title": "edgebudget"}, "GO: 1 of 1 model and device pairs have an option that fits.")
    ]


def test_what_could_not_be_estimated_is_an_error() -> None:
    assert rendered(errors=(ERROR,))[0] == ("error", {"title": "ERROR: mobilenet_v22"}, f"{ERROR.message} {ERROR.hint}")


@given(st.text(max_size=60))
def test_no_name_breaks_out_of_its_command(name: str) -> None:
    short = replace(SHORT_RESULT, model=name, device=name, runtime=name, dtype=name, reasons=(name,))
    commands = rendered(short, errors=(ReportError(f"{name}.py:x", name, name, name),))
    assert [command for command, _, _ in commands] == ["error", "error", "notice"]
    assert commands[0][1]["title"] == f"NO-GO: {one_line(name)} on {one_line(name)}"
    assert set(commands[1][1]) == {"file", "title"}


def test_the_summary_is_appended_where_a_runner_asks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    monkeypatch.setenv(github.VARIABLE, str(path))
    github.append_step_summary(REPORT)
    text = path.read_text(encoding="utf-8")
    assert text == "before\n" + REPORTERS.get("md").render(REPORT) + "\n"
    monkeypatch.delenv(github.VARIABLE)
    github.append_step_summary(REPORT)
    assert path.read_text(encoding="utf-8") == text


def test_a_summary_too_long_for_a_runner_keeps_the_verdicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "summary.md"
    monkeypatch.setenv(github.VARIABLE, str(path))
    many = report(*(replace(SHORT_RESULT, model=f"m{i}", reasons=("x" * 2_000,)) for i in range(600)))
    assert len(REPORTERS.get("md").render(many)) > github.MOST_BYTES
    github.append_step_summary(many)
    text = path.read_text(encoding="utf-8")
    assert len(text.encode()) < github.MOST_BYTES
    assert text.startswith("# Memory verdict")
    assert "| m599 |" in text


def test_a_summary_that_cannot_be_written_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(github.VARIABLE, str(tmp_path))
    with pytest.raises(OutputError, match="Cannot write to"):
        github.append_step_summary(REPORT)
