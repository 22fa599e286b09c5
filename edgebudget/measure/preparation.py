"""Models become artefacts in a process of its own: what measures stays free of torch and its memory."""

import json
import select
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from edgebudget.measure.environment import preparation_environment
from edgebudget.measure.interface import Artefact, Failure, Subject

PREPARE_SECONDS = 900.0
MODELS_PER_PROCESS = 10  # exporters keep what they traced: a process that goes on for ever only grows


@dataclass(frozen=True)
class Prepared:
    """A subject whose artefact is ready."""

    subject: Subject
    artefact: Artefact
    parameter_numel: int


class Preparer:
    """A process that makes artefacts, one after the other, started when first asked and again when it died.

    Importing and warming up the exporters costs as much as lowering a small model, which is why it is kept.
    """

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._process: subprocess.Popen[str] | None = None
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed on leaving
        self._models: set[tuple[str, tuple[str, ...]]] = set()

    def __enter__(self) -> "Preparer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()
        self._errors.close()

    def prepare(self, subject: Subject, folder: Path) -> Prepared | Failure:
        """Return the artefact of `subject`, written below `folder`, which is one model's alone.

        A process that dies or runs over its time fails this subject only.
        """
        self._models.add((subject.model, subject.inputs))
        if len(self._models) > MODELS_PER_PROCESS:
            self._stop()
            self._models = {(subject.model, subject.inputs)}
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps({**asdict(subject), "folder": str(folder)}) + "\n")
            process.stdin.flush()
        except BrokenPipeError:  # it died; the answer that does not come says so
            pass
        ready, _, _ = select.select([process.stdout], [], [], self._timeout_seconds)
        line = process.stdout.readline() if ready else ""
        if line.endswith("\n"):
            return _parse(subject, json.loads(line))
        code = process.wait() if ready else None
        self._stop()
        if code is None:
            return Failure(subject, f"Making the artefact took more than {self._timeout_seconds:.0f} s.")
        self._errors.seek(0)
        said = last_line(self._errors.read())
        return Failure(subject, f"The process that makes the artefact ended with {code}: {said}")

    def _running(self) -> "subprocess.Popen[str]":
        if self._process is None:
            self._errors.seek(0)
            self._errors.truncate()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "edgebudget.measure.workers.preparation"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env=preparation_environment(),
            )
        return self._process

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def last_line(text: str) -> str:
    """Return the last line of `text` that says something, cut to 300 characters."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "nothing was printed")[:300]


def _parse(subject: Subject, answer: dict[str, object]) -> Prepared | Failure:
    if "reason" in answer:
        return Failure(subject, str(answer["reason"]))
    fields = answer["artefact"]
    numel = answer["parameter_numel"]
    assert isinstance(fields, dict)
    assert isinstance(numel, int)
    path, planned = fields["path"], fields["planned_bytes"]
    changed = {"path": Path(path) if path else None, "planned_bytes": None if planned is None else tuple(planned)}
    return Prepared(subject, Artefact(**{**fields, **changed}), numel)
