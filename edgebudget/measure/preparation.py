"""Models become artefacts in a process of their own, one a model: what measures stays free of torch and its memory."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edgebudget.measure.environment import preparation_environment
from edgebudget.measure.interface import Artefact, Failure, Subject

ANSWERS = "answers.jsonl"


@dataclass(frozen=True)
class Prepared:
    """A subject whose artefact is ready."""

    subject: Subject
    artefact: Artefact
    parameter_numel: int


def prepare_apart(subjects: Sequence[Subject], folder: Path, timeout_seconds: float) -> Iterator[Prepared | Failure]:
    """Yield an answer for each of `subjects`, all of one model and one set of inputs, made in a process of its own.

    A process that dies or runs over its time fails the subject in hand; the others go on in a new one.
    """
    left = list(subjects)
    while left:
        (folder / ANSWERS).unlink(missing_ok=True)
        end = _run(left, folder, timeout_seconds)
        answers = (folder / ANSWERS).read_text().splitlines() if (folder / ANSWERS).exists() else []
        for subject, line in zip(left, answers, strict=False):
            yield _parse(subject, json.loads(line))
        left = left[len(answers) :]
        if left:
            yield Failure(left.pop(0), end)


def _run(subjects: Sequence[Subject], folder: Path, timeout_seconds: float) -> str:
    request = {"folder": str(folder), "subjects": [asdict(subject) for subject in subjects]}
    command = [sys.executable, "-m", "edgebudget.measure.workers.preparation"]
    try:
        result = subprocess.run(
            command,
            input=json.dumps(request),
            capture_output=True,
            text=True,
            env=preparation_environment(),
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"Making the artefact took more than {timeout_seconds:.0f} s."
    return f"The process that makes the artefact ended with {result.returncode}: {last_line(result.stderr)}"


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
