"""A sweep under a clock that is set back and forth by a day twice a second: nothing that it does may tell."""

import csv
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.sweeps import ROOT, run, start, wait_for_lines, write_models

DAY = 86_400
# Python imports this before anything else, in the sweep and in every process that it starts.
JUMPING = f"""
import time

def _jumps(clock, unit):
    def read():
        return clock() - {DAY} * unit * (int(2 * time.monotonic()) % 2)
    return read

time.time, time.time_ns = _jumps(time.time, 1), _jumps(time.time_ns, 10**9)
"""


@pytest.fixture(scope="module")
def jumping(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("clock")
    (folder / "sitecustomize.py").write_text(JUMPING)
    path = f"{folder}{os.pathsep}{ROOT}"
    # the clock does jump there, by a day and to either side, or this file tests nothing
    code = "import time; print(*((time.sleep(0.1), time.time())[1] for _ in range(12)))"
    told = subprocess.run(
        [sys.executable, "-P", "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, check=True
    )
    steps = [float(later) - float(sooner) for sooner, later in pairwise(told.stdout.split())]
    assert min(steps) < -DAY / 2
    assert max(steps) > DAY / 2
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("models"))


def test_a_timeout_strikes_what_hangs_and_nothing_else(models: Path, tmp_path: Path, jumping: str) -> None:
    out = tmp_path / "zoo.csv"
    names = [f"{models}:{name}" for name in ("fine", "naps0", "hangs", "naps1")]
    before = time.monotonic()
    code, _, err = run(*names, "--out", str(out), "--timeout", "12", PYTHONPATH=jumping)
    taken = time.monotonic() - before
    assert "Traceback" not in err
    assert code == 2
    assert [row["failure"] for row in csv.DictReader(out.open())] == ["", "", "timeout", ""]
    assert taken > 12


def test_progress_counts_on_and_never_tells_of_days(models: Path, tmp_path: Path, jumping: str) -> None:
    names = [f"{models}:naps{i}" for i in range(6)]
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "edgebudget", "sweep", *names, "--device", "linux-x86_64", "--dtype", "float32",
         "--out", str(tmp_path / "zoo.csv")],
        env={**os.environ, "PYTHONPATH": jumping, "TERM": "xterm", "COLUMNS": "80"},
        stdout=subprocess.DEVNULL,
        stderr=inside,
        start_new_session=True,
    )  # fmt: skip
    os.close(inside)
    shown = bytearray()

    def read() -> None:
        try:
            while chunk := os.read(terminal, 4096):
                shown.extend(chunk)
        except OSError:  # how a terminal says that nobody writes any more
            pass

    reader = threading.Thread(target=read)
    reader.start()
    assert process.wait(timeout=300) == 0
    reader.join()
    os.close(terminal)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    counts = [int(count) for count in re.findall(r"(\d+)/6\b", text)]
    assert counts == sorted(counts)
    assert counts[-1] == 6
    left = re.findall(r"left +(-?\d+):(\d\d):(\d\d)", text)
    assert left
    assert all(hours == "0" for hours, _, _ in left)


def test_a_killed_sweep_is_taken_up_as_ever(models: Path, tmp_path: Path, jumping: str) -> None:
    names = [f"{models}:naps{i}" for i in range(12)]
    part = tmp_path / "zoo.csv.part"
    arguments = (*names, "--out", str(tmp_path / "zoo.csv"))
    first = start(*arguments, PYTHONPATH=jumping)
    wait_for_lines(part, 3)
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=60)
    done = part.read_bytes().count(b"\n") - 1
    assert 2 <= done < 12
    ages = (0, -DAY, DAY)  # what was written seems to be of today, of yesterday or of tomorrow
    os.utime(part, (time.time() + ages[done % 3],) * 2)
    code, text, err = run(*arguments, PYTHONPATH=jumping)
    assert (code, err) == (0, "")
    assert "12 of 12 estimated" in text
    assert [row["model"] for row in csv.DictReader((tmp_path / "zoo.csv").open())] == names
