"""Workers as processes of this machine."""

import subprocess
import sys
from pathlib import Path
from types import TracebackType

from edgebudget.errors import MeasurementError
from edgebudget.measure.environment import THREADS, provenance, worker_environment
from edgebudget.measure.executorch_package import package_folder
from edgebudget.measure.facts import this_machine
from edgebudget.measure.interface import Backend, Observation, Programs, Provenance, Subject
from edgebudget.measure.native_build import executorch_runner, heap_counter
from edgebudget.measure.preparation import Prepared, last_line
from edgebudget.measure.records import parse_observation
from edgebudget.measure.repeats import further_names, joined

RUN_SECONDS = 600.0


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
        """Run the workers; raise MeasurementError when one fails or takes more than RUN_SECONDS."""
        path = prepared.artefact.path
        observed = [self._observe_once(backend, prepared.subject, path)]
        for name in further_names(backend, path.suffix if path is not None else ""):
            assert path is not None, "a worker that builds its model runs once"
            named = path.with_name(name)
            named.hardlink_to(path)
            try:
                observed.append(self._observe_once(backend, prepared.subject, named))
            finally:
                named.unlink()
        return joined(observed)

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
