"""The hooks for pre-commit: their commands run, in a repository as a user has it."""

import shlex
from pathlib import Path

import pytest
import yaml

from edgebudget.cli import main
from tests.test_cli import TINY

ROOT = Path(__file__).parents[1]
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))


def command(hook: str) -> list[str]:
    entry = next(entry for entry in HOOKS if entry["id"] == hook)
    program, *arguments = shlex.split(entry["entry"])
    assert program == "edgebudget"
    return arguments


def test_the_manifest_has_what_pre_commit_asks_for() -> None:
    for hook in HOOKS:
        assert {"id", "name", "entry", "language"} <= set(hook)


def test_the_check_hook_says_only_what_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.py").write_text(TINY)
    policy = "models: ['tiny.py:{}']\ndevices: [linux-x86_64]\nruntimes: [pytorch]\ndtypes: [float32]\n"
    monkeypatch.chdir(tmp_path)
    for factory, code in (("tiny", 0), ("huge", 1)):
        (tmp_path / "edgebudget.yaml").write_text(policy.format(factory))
        assert main(command("edgebudget")) == code
        assert ("NO-GO" in capfd.readouterr().out) is bool(code)


def test_the_devices_hook_takes_the_files_that_changed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    board = tmp_path / "board.yaml"
    board.write_text("schema_version: 1\nname: board\n")
    assert main([*command("edgebudget-devices"), str(board)]) == 2
    assert str(board) in capfd.readouterr().out
