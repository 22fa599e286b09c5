"""Models that behave and models that do not, and sweeps over them as a user runs them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODELS = """
import os, signal, sys, time, torch
from torch import nn

INPUT = (torch.zeros(1, 3, 8, 8),)

def fine():
    return nn.Conv2d(3, 4, 3), INPUT

def raises():
    raise ValueError("=1+1")

def killed():
    os.kill(os.getpid(), signal.SIGKILL)

def leaves():
    os._exit(0)

def hangs():
    while True:
        time.sleep(1)

def eats():
    kept = []
    while True:
        kept.append(bytearray(2**26))

def spills():
    os.write(1, b"not an answer\\n")
    sys.stdout.write("nor this\\n")
    return fine()

""" + "".join(f"def naps{i}():\n    time.sleep(0.3)\n    return fine()\n\n" for i in range(12))


def write_models(folder: Path) -> Path:
    path = folder / "models.py"
    path.write_text(MODELS)
    return path


def start(*arguments: str, **environment: str) -> "subprocess.Popen[str]":
    """Start a sweep for two devices' cheapest rows in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "edgebudget", "sweep", *arguments, "--device", "linux-x86_64", "--dtype", "float32"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        start_new_session=True,
        preexec_fn=hear_interrupts,
    )


def hear_interrupts() -> None:
    """Undo what a shell does to whatever it starts in the background: it has it ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of a sweep."""
    process = start(*arguments, **environment)
    out, err = process.communicate(timeout=540)
    return process.returncode, out, err


def wait_for_lines(path: Path, count: int, seconds: float = 240) -> None:
    """Return once the part file has `count` lines."""
    deadline = time.monotonic() + seconds
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert time.monotonic() < deadline, f"{path} has not come to {count} lines"
        time.sleep(0.02)


def workers_of(models: Path) -> list[int]:
    """Return the processes that have this file's folder in their environment: workers of its sweeps."""
    marked = f"SWEEP_OF={models}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marked in (folder / "environ").read_bytes() and (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found
