"""The command as a process of its own: it ends without taking torch apart, and loses nothing by that."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = "from edgebudget.__main__ import program\nprogram()\n"
MAIN = "import sys\nfrom edgebudget.cli import main\nsys.exit(main())\n"
HANDLER = "import atexit\natexit.register(print, 'handled')\n"
MODEL = f"""
{HANDLER}
import sys, threading, torch

def work():
    threading.main_thread().join()
    print("the thread is done", file=sys.__stdout__)

threading.Thread(target=work).start()

def model():
    return torch.nn.Linear(2, 2), torch.zeros(1, 2)
"""


def run(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `code` with a stdout that is buffered, as it is in a pipe unless somebody asks otherwise."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--version"], 0), (["devices", "show", "none-such"], 2), (["devices", "list"], 0)]
)
def test_the_exit_code_and_all_that_was_printed_come_through(arguments: list[str], code: int) -> None:
    done, slowly = run(PROGRAM, *arguments), run(MAIN, *arguments)
    assert done.returncode == code
    assert (done.returncode, done.stdout, done.stderr) == (slowly.returncode, slowly.stdout, slowly.stderr)


def test_threads_end_and_what_was_registered_meanwhile_is_done(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL)
    done = run(PROGRAM, "check", f"{tmp_path}/model.py:model", "--device", "stm32l4r5", "--dtype", "float32")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("the thread is done\nhandled\n")


def test_what_was_registered_before_the_program_is_done() -> None:
    done = run(HANDLER + PROGRAM, "--version")
    assert done.returncode == 0
    assert done.stdout.endswith("handled\n")
