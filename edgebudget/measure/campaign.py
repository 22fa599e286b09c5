"""Many measurements into one file of JSON lines, which can be stopped and taken up again."""

import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edgebudget.errors import MeasurementError
from edgebudget.measure import BACKENDS
from edgebudget.measure.interface import Board, Failure, Measurement, Subject
from edgebudget.measure.place import Place
from edgebudget.measure.preparation import PREPARE_SECONDS, Prepared, Preparer
from edgebudget.measure.records import failure_line, parse_failures, parse_measurements, to_json_line


def measure(subjects: Sequence[Subject], place: Place) -> Iterator[Measurement | Failure]:
    """Yield the measurement of each subject at `place`, which is entered, or why there is none.

    Each runs in a fresh process, one at a time; subjects of one model should stand together. Raises MissingExtraError
    before anything runs when a backend's package is missing, UsageError when the place cannot run a backend.
    """
    for name in sorted({subject.backend for subject in subjects}):
        BACKENDS.get(name).require()
        place.require(BACKENDS.get(name))
    with Preparer(PREPARE_SECONDS) as preparer:
        for _, together in itertools.groupby(subjects, key=lambda subject: (subject.model, subject.inputs)):
            with tempfile.TemporaryDirectory(prefix="edgebudget-") as folder:
                for subject in together:
                    answer = preparer.prepare(subject, Path(folder))
                    yield answer if isinstance(answer, Failure) else measured(answer, place)


def measured(prepared: Prepared, place: Place) -> Measurement | Failure:
    """Return the measurement at `place`, which is entered, of a subject whose artefact is ready."""
    backend = BACKENDS.get(prepared.subject.backend)
    try:
        observation = place.observe(backend, prepared)
    except MeasurementError as error:
        return Failure(prepared.subject, str(error), place.board)
    artefact = replace(prepared.artefact, path=None)  # it lies in a folder that is about to go
    return Measurement(prepared.subject, prepared.parameter_numel, artefact, observation, place.provenance(backend))


def measure_to_file(
    subjects: Iterable[Subject], place: Place, path: Path, tell: Callable[[Measurement | Failure], None]
) -> None:
    """Append to `path` what it does not hold yet, as `measure_to_files` does."""
    measure_to_files(dict.fromkeys(subjects, path), place, tell)


def measure_to_files(
    paths: Mapping[Subject, Path], place: Place, tell: Callable[[Measurement | Failure], None]
) -> None:
    """Append each subject to its file unless it is there, a line at a time, flushed whole; call `tell` after each.

    What fails goes to `failures_path` of that file and is not tried again until its line is deleted there. A last line
    that was cut off by a kill is removed first. Raises CalibrationError when a file holds anything else.
    """
    known = {path: recorded(path, place.board) for path in set(paths.values())}
    left = [subject for subject, path in paths.items() if subject not in known[path]]
    for result in measure(left, place):
        append(paths[result.subject], result)
        tell(result)


def append(path: Path, result: Measurement | Failure) -> None:
    """Add a line to a file of measurements, or to the file of its failures."""
    target, line = (
        (failures_path(path), failure_line(result)) if isinstance(result, Failure) else (path, to_json_line(result))
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def failures_path(path: Path) -> Path:
    """Return where the failures of a file of measurements stand: `x.jsonl` has `x.failures.jsonl`."""
    return path.with_suffix(".failures.jsonl")


def recorded(path: Path, board: Board | None) -> frozenset[Subject]:
    """Return the subjects that need no measuring on `board`: those in `path`, and those that failed before.

    A last line without an end, which a kill leaves behind, is cut off in the file.
    """
    subjects: set[Subject] = set()
    for each in (path, failures_path(path)):
        _cut_unfinished_line(each)
    if path.exists():
        held = parse_measurements(path.read_text(encoding="utf-8"), str(path))
        subjects.update(known.subject for known in held if known.provenance.board == board)
    if failures_path(path).exists():
        failed = parse_failures(failures_path(path).read_text(encoding="utf-8"))
        subjects.update(failure.subject for failure in failed if failure.board in (None, board))
    return frozenset(subjects)


def _cut_unfinished_line(path: Path) -> None:
    if not path.exists():
        return
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)
