"""A process of its own for models: kept while it behaves, ended when it does not."""

import contextlib
import json
import os
import pickle
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from typing import IO

from edgebudget.errors import ModelError
from edgebudget.pipeline import Request
from edgebudget.sweeping.plan import Unit
from edgebudget.sweeping.rows import Failure, Finished, failed
from edgebudget.sweeping.work import tells_of_memory
from edgebudget.units import format_bytes

START_SECONDS = 600.0  # importing torch from a cold disk on a busy machine
EXIT_SECONDS = 5.0  # from the end of a process's pipe to its exit code
UNITS_PER_PROCESS = 200  # models leave things behind: a process that goes on for ever only grows


@dataclass(frozen=True, slots=True)
class Limits:
    """What one model may take. `memory_limit_bytes` is over what the process has once torch is imported."""

    timeout_seconds: float
    memory_limit_bytes: int | None = None


class Supervisor:
    """Runs units in one child process, started when first needed and again after it was lost."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._rest = 0
        self._closed = False
        self._busy = threading.Lock()

    def run(self, unit: Unit, request: Request) -> Finished:
        """Return the rows of `unit`; one row with the reason where its process hangs, dies or runs out of memory.

        Raises ModelError where no process can be started at all.
        """
        message = pickle.dumps((unit, request, self._limits.timeout_seconds))
        with self._busy:
            process = self._started()
            if not _send(process, message):  # an idle process ends itself: that is no fault of this unit
                self._end(0)
                process = self._started()
                _send(process, message)
            answer = _line(process, self._limits.timeout_seconds)
            self._rest -= 1
            if answer.endswith(b"\n"):
                finished = Finished(unit, tuple(json.loads(answer)))
                if finished.failure == Failure.MEMORY or not self._rest:
                    self._end(0)
                return finished
            said = self._last_words()
            if answer is _LATE:
                self._end(0)
                return self._too_slow(unit)
            return self._died(unit, self._end(EXIT_SECONDS), said)

    def close(self) -> None:
        """End the process, in the middle of a model too, and start none again."""
        self._closed = True
        process = self._process
        if process is not None:
            _kill_group(process)
        with self._busy:
            self._end(0)

    def _end(self, wait_seconds: float) -> int:
        """End the process and all that it started; return its exit code, after waiting for its own."""
        process, self._process = self._process, None
        if process is None:
            return 0
        assert process.stdin is not None
        assert process.stdout is not None
        assert self._errors is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait_seconds)
        _kill_group(process)
        code = process.wait()
        for stream in (process.stdin, process.stdout, self._errors):
            with contextlib.suppress(OSError):  # what was not sent any more
                stream.close()
        return code

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._closed:
            raise ModelError("The sweep was stopped.")
        if self._process is not None:
            return self._process
        limit = self._limits.memory_limit_bytes
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed in _end
        self._process = subprocess.Popen(
            # -P: a file called random.py in the user's folder must not stand in for the library's
            [sys.executable, "-P", "-m", "edgebudget.sweeping.worker", *([] if limit is None else [str(limit)])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": _import_path()},
            start_new_session=True,
        )
        self._rest = UNITS_PER_PROCESS
        if _line(self._process, START_SECONDS) != b"ready\n":
            said = self._last_words()
            self._end(0)
            raise ModelError(f"No process for models could be started: {said}.", "Run with --jobs 1, or free memory.")
        return self._process

    def _last_words(self) -> str:
        assert self._errors is not None
        self._errors.seek(max(self._errors.seek(0, os.SEEK_END) - 4096, 0))
        lines = self._errors.read().decode("utf-8", "replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "nothing was printed")[:300]

    def _too_slow(self, unit: Unit) -> Finished:
        message = f"{unit.model} took more than {self._limits.timeout_seconds:g} s."
        return failed(unit, Failure.TIMEOUT, message, "Give it longer with --timeout.")

    def _died(self, unit: Unit, code: int, said: str) -> Finished:
        if tells_of_memory(said) and self._limits.memory_limit_bytes is not None:
            limit = format_bytes(self._limits.memory_limit_bytes)
            return failed(
                unit, Failure.MEMORY, f"{unit.model} took more than {limit}.", "Give it more with --memory-limit."
            )
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        hint = "The system does that when memory runs out." if code == -signal.SIGKILL else ""
        return failed(unit, Failure.CRASH, f"The process of {unit.model} {how}: {said}.", hint)


class Pool:
    """The supervisors of this process, one a thread: what joblib's workers call, here or on a cluster's machine."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._supervisors: dict[tuple[int, Limits], Supervisor] = {}

    def supervisor(self, limits: Limits) -> Supervisor:
        """Return this thread's own."""
        with self._mutex:
            return self._supervisors.setdefault((threading.get_ident(), limits), Supervisor(limits))

    def close(self) -> None:
        """End every process, those in the middle of a model too."""
        with self._mutex:
            supervisors = list(self._supervisors.values())
            self._supervisors.clear()
        for supervisor in supervisors:
            supervisor.close()


POOL = Pool()
_LATE = b"late"  # no answer ends without a newline, so this is none


def run_unit(unit: Unit, request: Request, limits: Limits) -> Finished:
    """Return the rows of `unit`, worked out in the process of the thread that this is called in."""
    return POOL.supervisor(limits).run(unit, request)


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _send(process: "subprocess.Popen[bytes]", message: bytes) -> bool:
    assert process.stdin is not None
    try:
        process.stdin.write(len(message).to_bytes(8, "little") + message)
        process.stdin.flush()
    except OSError:
        return False
    return True


def _line(process: "subprocess.Popen[bytes]", timeout_seconds: float) -> bytes:
    """Return the next line; what came of it where the process ended; `_LATE` after `timeout_seconds`."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    deadline = time.monotonic() + timeout_seconds  # a clock that is set does not move this one
    answer = bytearray()
    while not answer.endswith(b"\n"):
        ready, _, _ = select.select([descriptor], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            return _LATE
        chunk = os.read(descriptor, 2**16)
        if not chunk:
            break
        answer += chunk
    return bytes(answer)


def _import_path() -> str:
    """Return a PYTHONPATH with which a child finds this very package."""
    own = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return os.pathsep.join([own, *filter(None, [os.environ.get("PYTHONPATH")])])
