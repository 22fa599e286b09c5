"""Progress is for people: on stderr, on a terminal, and never among the results."""

import io
import re
import sys
import time
from pathlib import Path

import pytest

from edgebudget.cli import main
from edgebudget.cli.progress import bar, followed, progress
from edgebudget.evidence import recorded_measurements
from edgebudget.measure.records import to_json_line
from edgebudget.pipeline import Request, resolve_asked, run
from tests.test_cli import TINY


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stderr: io.StringIO, *, quiet: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    stdout = io.StringIO()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "stderr", stderr)
    with progress("estimating", 2, quiet=quiet) as done:
        done("a [/model] [red]markup\n\x1b[31m")
        print("a model talks")
    return stdout.getvalue(), stderr.getvalue()


def test_a_terminal_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = shown(Terminal(), quiet=False, monkeypatch=monkeypatch)
    assert out == ""
    assert "[/model]" in err
    assert "\\x1b[31m" in err


@pytest.mark.parametrize(("stderr", "quiet"), [(Terminal(), True), (io.StringIO(), False)])
def test_nobody_else_does(stderr: io.StringIO, quiet: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(stderr, quiet=quiet, monkeypatch=monkeypatch) == ("", "a model talks\n")


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_it_says_how_long_it_still_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "stderr", stderr)
    with progress("estimating", 3, quiet=False) as done:
        for name in ("one", "two" + 100 * "o"):
            time.sleep(0.15)
            done(name)
        time.sleep(0.15)
    seen = plain(stderr.getvalue())
    assert "2/3" in seen
    assert "estimating: two" in seen
    assert re.search(r"left 0:00:0[0-9]", seen)
    assert max(map(len, re.split(r"[\r\n]", seen))) <= 80


def test_results_that_stream_pass_by_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    stdout, stderr = io.StringIO(), Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "stderr", stderr)
    with bar("measuring", 1, quiet=False) as done:
        print("a result")
        print("a note", file=sys.stderr)
        done("one")
    assert stdout.getvalue() == "a result\n"
    assert "a note" in plain(stderr.getvalue())


def test_what_is_followed_is_told_after_its_work() -> None:
    told: list[str] = []
    for item in followed([1, 2], str, told.append):
        assert str(item) not in told
    assert told == ["1", "2"]


@pytest.mark.parametrize("command", ["validate", "calibrate"])
def test_work_on_measurements_shows_it(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "few.jsonl"
    lines = [to_json_line(m) for m in recorded_measurements("build") if m.subject.model == "mobilenet_v2"]
    data.write_text(lines[0] + "\n", encoding="utf-8")
    for quiet, seen in (([], True), (["-q"], False)):
        stderr = Terminal()
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(sys, "stderr", stderr)
        assert main([command, "--data", str(data), *quiet]) in (0, 2)
        assert ("estimating" in stderr.getvalue()) is seen


def test_a_report_tells_of_each_model_on_each_device(tmp_path: Path) -> None:
    path = tmp_path / "tiny.py"
    path.write_text(TINY)
    devices = ("raspberrypi", "linux-x86_64")
    told: list[str] = []
    models = (f"{path}:tiny", f"{path}:raises")
    run(models, Request(devices=resolve_asked(devices), runtimes=("pytorch",)), on_done=told.append)
    assert told == [f"{model} on {device}" for model in models for device in devices]
