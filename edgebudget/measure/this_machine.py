"""Workers as processes of this machine."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from edgebudget.errors import MeasurementError
from edgebudget.measure.environment import THREADS, provenance, worker_environment
from edgebudget.measure.executorch_package import package_folder
from edgebudget.measure.facts import this_machine
from edgebudget.measure.interface import Backend, Observation, ProcessPeaks, Programs, Provenance, Subject
from edgebudget.measure.native_build import executorch_runner, heap_counter
from edgebudget.measure.preparation import Prepared, last_line
from edgebudget.measure.records import parse_observation

RUN_SECONDS = 600.0
NAME_STEP = 20  # characters by which the names differ that further processes know the file by


class ThisMachine:
    """The place without a board. Entering it raises MeasurementError when the allocation counter cannot be built."""

    board = None

    def __enter__(self) -> "ThisMachine":
        self._counter = heap_counter()
        self._programs = Programs(sys.executable, lambda: str(executorch_runner(package_folder("Its runner"))))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nothing is left to stop: a worker is waited for."""

    def require(self, backend: Backend) -> None:
        """Any backend that can prepare its artefact here runs here."""

    def observe(self, backend: Backend, prepared: Prepared) -> Observation:
        """Run the workers; raise MeasurementError when one fails or takes more than RUN_SECONDS.

        Those after the first load the same file by other names: already the length of a path decides which small
        blocks a process has before the model, and with them which of the holes between large ones malloc can join.
        """
        path = prepared.artefact.path
        first = self._observe_once(backend, prepared.subject, path)
        others: list[ProcessPeaks] = []
        for repeat in range(1, backend.processes):
            assert path is not None, "a worker that builds its model runs once"
            named = path.with_name("m" * (NAME_STEP * repeat) + path.suffix)
            named.hardlink_to(path)
            try:
                others += self._observe_once(backend, prepared.subject, named).process_peaks
            finally:
                named.unlink()
        return replace(first, repeats=tuple(others))

    def _observe_once(self, backend: Backend, subject: Subject, path: Path | None) -> Observation:
        command = backend.command(subject, str(path), self._programs, THREADS, backend.runs)
        try:
            result = subprocess.run(
                command,
                env=worker_environment(self._counter),
                capture_output=True,
                text=True,
                timeout=RUN_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise MeasurementError(f"The run took more than {RUN_SECONDS:.0f} s.") from None
        if result.returncode != 0:
            raise MeasurementError(f"The run ended with {result.returncode}: {last_line(result.stderr)}")
        return parse_observation(result.stdout)

    def provenance(self, backend: Backend) -> Provenance:
        """Return this machine and the packages of this process."""
        return provenance(backend, this_machine(), {}, backend.runs, None)
