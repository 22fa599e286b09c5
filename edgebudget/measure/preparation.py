"""Models become artefacts in a process of their own, `python -m edgebudget.measure.preparation`, one a model.

It reads a request as JSON on its input and writes an answer a line, flushed whole, to a file in the request's folder: a
crash takes the artefact in hand with it, and none of those before.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edgebudget.errors import EdgeBudgetError
from edgebudget.measure.environment import import_path
from edgebudget.measure.interface import Artefact, Failure, Subject

_ANSWERS = "answers.jsonl"


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
        (folder / _ANSWERS).unlink(missing_ok=True)
        end = _run(left, folder, timeout_seconds)
        answers = (folder / _ANSWERS).read_text().splitlines() if (folder / _ANSWERS).exists() else []
        for subject, line in zip(left, answers, strict=False):
            yield _parse(subject, json.loads(line))
        left = left[len(answers) :]
        if left:
            yield Failure(left.pop(0), end)


def _run(subjects: Sequence[Subject], folder: Path, timeout_seconds: float) -> str:
    request = {"folder": str(folder), "subjects": [asdict(subject) for subject in subjects]}
    command = [sys.executable, "-m", "edgebudget.measure.preparation"]
    environment = {**_environment(), "PYTHONPATH": import_path()}
    try:
        result = subprocess.run(
            command,
            input=json.dumps(request),
            capture_output=True,
            text=True,
            env=environment,
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"Making the artefact took more than {timeout_seconds:.0f} s."
    return f"The process that makes the artefact ended with {result.returncode}: {last_line(result.stderr)}"


def last_line(text: str) -> str:
    """Return the last line of `text` that says something, cut to 300 characters."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "nothing was printed")[:300]


def _environment() -> dict[str, str]:
    import os

    return dict(os.environ)


def _parse(subject: Subject, answer: dict[str, object]) -> Prepared | Failure:
    if "reason" in answer:
        return Failure(subject, str(answer["reason"]))
    fields = answer["artefact"]
    numel = answer["parameter_numel"]
    assert isinstance(fields, dict) and isinstance(numel, int)
    path, planned = fields["path"], fields["planned_bytes"]
    changed = {"path": Path(path) if path else None, "planned_bytes": None if planned is None else tuple(planned)}
    return Prepared(subject, Artefact(**{**fields, **changed}), numel)


def _main() -> None:
    from edgebudget.measure import BACKENDS
    from edgebudget.measure.models import BuiltModel, build_model

    request = json.load(sys.stdin)
    folder = Path(request["folder"])
    built: BuiltModel | EdgeBudgetError | None = None
    with (folder / _ANSWERS).open("w") as answers, contextlib.redirect_stdout(sys.stderr):
        for fields in request["subjects"]:
            try:
                built = built or build_model(fields["model"], fields["inputs"])
                artefact = BACKENDS.get(fields["backend"]).prepare(built, fields["dtype"], folder)
                answer: dict[str, object] = {"artefact": asdict(artefact), "parameter_numel": built.parameter_numel}
            except EdgeBudgetError as error:
                answer = {"reason": str(error)}
            except Exception as error:  # exporters raise whatever they like; the reason goes into the list
                answer = {"reason": f"{type(error).__name__}: {_first_line(str(error))}"}
            answers.write(json.dumps(answer, default=str) + "\n")
            answers.flush()


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "no message")[:300]


if __name__ == "__main__":
    _main()
