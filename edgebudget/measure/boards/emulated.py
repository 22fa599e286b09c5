"""An emulated board as a place to measure at: it boots when the first model is ready and again when it went down."""

import shlex
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from edgebudget.errors import MeasurementError, UsageError
from edgebudget.measure.boards.host_tools import require_tools
from edgebudget.measure.boards.image import SITE_PACKAGES, board_image
from edgebudget.measure.boards.machine import Hardware, Machine, Outcome
from edgebudget.measure.boards.payload import BALLAST, RUNNER, worker_settings, write_payload
from edgebudget.measure.boards.recipe import recipe
from edgebudget.measure.environment import PINNED, THREADS, provenance
from edgebudget.measure.facts import parse_facts
from edgebudget.measure.interface import Backend, Board, Observation, Programs, Provenance, Subject
from edgebudget.measure.native_build import AARCH64
from edgebudget.measure.preparation import Prepared, last_line
from edgebudget.measure.records import parse_observation
from edgebudget.measure.repeats import further_names, joined

CORES = ("cortex-a53", "cortex-a72", "cortex-a76")
"""What QEMU emulates of the cores of boards: Pi Zero 2 W and 3, Pi 4, Pi 5."""
RUN_SECONDS = 1800.0
"""What a worker is given on a board, which is 20 to 100 times slower than this machine."""

RUNS = 2
"""The first run, and one of the steady state: emulation is slow, and what a run allocates repeats to the byte."""

_PAYLOAD = "/scratch/payload"
_NEXT = "@next"  # between what one worker printed and what the next one did
_PROGRAMS = Programs("/usr/bin/python3", lambda: f"{_PAYLOAD}/{RUNNER}")
# Compiled Python is kept for as long as the board is on: its packages come without, and its system cannot be written.
_ENVIRONMENT = {
    **PINNED,
    **worker_settings(_PAYLOAD, f"/{SITE_PACKAGES}/executorch/lib"),
    "PYTHONPYCACHEPREFIX": "/scratch/pycache",
}
_WARM_UP = "env PYTHONPYCACHEPREFIX=/scratch/pycache PYTHONPATH=" + _PAYLOAD
_WARM_UP += " python3 -c 'import edgebudget.measure.workers.onnxruntime'"


class EmulatedBoard:
    """A board with the hardware that is asked for. `tell` hears what takes time."""

    def __init__(self, hardware: Hardware, tell: Callable[[str], None]) -> None:
        """Raises UsageError for a core that is not in CORES."""
        if hardware.core not in CORES:
            raise UsageError(f"There is no board {hardware.core!r} to emulate.", f"Give one of {', '.join(CORES)}.")
        self._hardware = hardware
        self._tell = tell
        self._machine: Machine | None = None
        self._payload: tempfile.TemporaryDirectory[str] | None = None
        self._warm = False

    def __enter__(self) -> "EmulatedBoard":
        tools = require_tools(
            ("qemu-system-aarch64", "debootstrap", "dpkg-deb", "mke2fs", "setpriv", AARCH64.c, AARCH64.cpp),
            f"An emulated {self._hardware.core}",
        )
        version = subprocess.run(
            [tools["qemu-system-aarch64"], "--version"], capture_output=True, text=True, check=True
        )
        self._emulator = version.stdout.splitlines()[0].replace("emulator version ", "")
        self._recipe = recipe()
        self._image = board_image(self._recipe, self._tell)
        self._payload = tempfile.TemporaryDirectory(prefix="edgebudget-payload-")
        write_payload(Path(self._payload.name), AARCH64, self._image.executorch)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.switch_off()
        if self._payload is not None:
            self._payload.cleanup()

    @property
    def board(self) -> Board:
        """The hardware, with the RAM that was asked for."""
        return Board(self._hardware.core, self._hardware.ram_bytes, self._emulator)

    def require(self, backend: Backend) -> None:
        """Raise UsageError for a backend whose packages the board's image does not have."""
        missing = [name for name in backend.runs_on if name not in self._recipe.wheels]
        if missing:
            raise UsageError(
                f"The backend {backend.name!r} does not run on an emulated board: it has no {missing[0]}.",
                "Give --backend executorch-xnnpack, executorch or onnxruntime.",
            )

    def observe(self, backend: Backend, prepared: Prepared) -> Observation:
        """Run the workers on the board; raise MeasurementError when one fails, is killed or takes over RUN_SECONDS.

        They are one job: what the first has read is in memory for the others, which saves half of their time.
        """
        suffix = _file_of(prepared).suffix
        there = _there(suffix)
        lines = [_worker(backend, prepared.subject, there)]
        for name in further_names(backend, suffix):
            named = f"/scratch/input.{name}"  # the agent removes what starts so
            lines.append(f"echo {_NEXT} && ln {there} {named} && {_worker(backend, prepared.subject, named)}")
        outcome = self._run(backend, prepared, " && ".join(lines), RUN_SECONDS * len(lines))
        if outcome.killed_for_memory:
            raise MeasurementError(f"The board's kernel killed the run: it has not enough of its {self._ram()}.")
        if outcome.code != 0:
            raise MeasurementError(f"The run ended with {outcome.code}: {last_line(outcome.stderr)}")
        return joined([parse_observation(said) for said in outcome.stdout.split(_NEXT)])

    def run(self, backend: Backend, prepared: Prepared, available_bytes: int, timeout_seconds: float) -> Outcome:
        """Return how one worker ended when `available_bytes` of RAM were left to it.

        stderr starts with what really was available. Raises JobTimeoutError, and MeasurementError when the board went
        down.
        """
        worker = _worker(backend, prepared.subject, _there(_file_of(prepared).suffix))
        # The kernel is to judge the worker, and leave the board's own processes alone.
        ballast = f"sh {_PAYLOAD}/{BALLAST} {available_bytes} && echo 1000 >/proc/self/oom_score_adj"
        after = "code=$?; umount /scratch/ballast; echo 0 >/proc/sys/vm/nr_hugepages; exit $code"
        return self._run(backend, prepared, f"{ballast} && {worker}; {after}", timeout_seconds)

    def _run(self, backend: Backend, prepared: Prepared, line: str, timeout_seconds: float) -> Outcome:
        """Run a line of shell beside the artefact."""
        path = _file_of(prepared)
        machine = self.switched_on()
        try:
            if not self._warm and "onnxruntime" in backend.runs_on:
                machine.run(_WARM_UP, {}, RUN_SECONDS)
                self._warm = True
            return machine.run(line, {Path(_there(path.suffix)).name: path}, timeout_seconds)
        except BaseException:
            self.switch_off()
            raise

    def switched_on(self) -> Machine:
        """Return the board, booted when it was off."""
        if self._machine is None:
            assert self._payload is not None
            self._tell(f"Switching on a {self._hardware.core} with {self._ram()}")
            self._machine = Machine(self._image, self._hardware, Path(self._payload.name)).__enter__()
            self._facts = parse_facts(self._machine.facts)
            self._warm = False
        return self._machine

    def switch_off(self) -> None:
        """Stop the emulator, if it runs."""
        if self._machine is not None:
            self._machine.__exit__(None, None, None)
            self._machine = None

    def provenance(self, backend: Backend) -> Provenance:
        """Return what the board says about itself, and the packages of its image."""
        there = {name: version for name, version in self._recipe.wheels.items() if name in backend.packages}
        return provenance(backend, self._facts, there, RUNS, self.board)

    def _ram(self) -> str:
        return f"{self._hardware.ram_bytes >> 20} MiB of RAM"


def _file_of(prepared: Prepared) -> Path:
    path = prepared.artefact.path
    assert path is not None, "no worker that builds its model runs on a board"
    return path


def _there(suffix: str) -> str:
    return f"/scratch/input{suffix}"


def _worker(backend: Backend, subject: Subject, path: str) -> str:
    """Return the line of shell that runs a worker on the file at `path`."""
    command = backend.command(subject, path, _PROGRAMS, THREADS, RUNS)
    return shlex.join(["env", *(f"{name}={value}" for name, value in _ENVIRONMENT.items()), *command])
