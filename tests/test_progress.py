"""Progress is for people: on stderr, on a terminal, and never among the results."""

import io
import sys

import pytest

from edgebudget.cli.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stderr: io.StringIO, *, quiet: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    stdout = io.StringIO()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "stderr", stderr)
    with progress(2, quiet=quiet) as done:
        done("a [/model] with [red]markup\n\x1b[31m")
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
