"""The tour in the README, pasted as a reader does."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOUR = (ROOT / "README.md").read_text(encoding="utf-8").split("## A tour in ten minutes")[1].split("\n## ")[0]
BLOCKS = re.findall(r"```sh\n(.*?)```", TOUR, re.DOTALL)
CODES = ((0, 1), (1, 0, 0), (1, 0), (0, 0, 0), (0, 0))


@pytest.mark.slow
def test_every_command_of_the_tour_does_what_it_says(tmp_path: Path) -> None:
    """Every block in one shell, with the exit code of each command on a line of its own."""
    program = tmp_path / "bin" / "edgebudget"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m edgebudget "$@"\n')
    program.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "GITHUB_STEP_SUMMARY": "",
    }
    folder = tmp_path / "empty"
    folder.mkdir()
    said = (
        ["GO: 1 of 1", "0 of"],
        ["NO-GO: 0 of 1", "Linear         1x512", "Pool before 1.0"],
        ["mobilenet_v2.trace.json"],
        ["Raspberry Pi"],
        ["Nothing grew"],
    )
    for block, codes, words in zip(BLOCKS, CODES, said, strict=True):
        script = re.sub(r"^(edgebudget .*)$", r"\1\necho exit code: $?", block, flags=re.M)
        done = subprocess.run(
            ["bash"], input=script, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=True
        )
        assert tuple(map(int, re.findall(r"^exit code: (\d+)$", done.stdout, re.M))) == codes, done.stderr
        for word in words:
            assert word in done.stdout
