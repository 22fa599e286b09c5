"""Many measurements into one file of JSON lines, which can be stopped and taken up again."""

import itertools
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edgebudget.errors import MeasurementError
from edgebudget.measure import BACKENDS
from edgebudget.measure.environment import provenance, worker_environment
from edgebudget.measure.interface import Failure, Measurement, Subject
from edgebudget.measure.native_build import heap_counter
from edgebudget.measure.preparation import Prepared, Preparer, last_line
from edgebudget.measure.records import failure_line, parse_failures, parse_measurements, parse_observation, to_json_line

THREADS = 1
PREPARE_SECONDS = 900.0
RUN_SECONDS = 600.0


def measure(subjects: Sequence[Subject]) -> Iterator[Measurement | Failure]:
    """Yield the measurement of each subject, or why there is none; subjects of one model should stand together.

    Each runs in a fresh process, one at a time. Raises MissingExtraError before anything runs when a backend's package
    is missing, and MeasurementError when the allocation counter cannot be built.
    """
    for name in sorted({subject.backend for subject in subjects}):
        BACKENDS.get(name).require()
    counter = heap_counter()
    with Preparer(PREPARE_SECONDS) as preparer:
        for _, together in itertools.groupby(subjects, key=lambda subject: (subject.model, subject.inputs)):
            with tempfile.TemporaryDirectory(prefix="edgebudget-") as folder:
                for subject in together:
                    answer = preparer.prepare(subject, Path(folder))
                    yield answer if isinstance(answer, Failure) else _measured(answer, counter)


def measure_to_file(subjects: Iterable[Subject], path: Path, tell: Callable[[Measurement | Failure], None]) -> None:
    """Append to `path` what it does not hold yet, as `measure_to_files` does."""
    measure_to_files(dict.fromkeys(subjects, path), tell)


def measure_to_files(paths: Mapping[Subject, Path], tell: Callable[[Measurement | Failure], None]) -> None:
    """Append each subject to its file unless it is there, a line at a time, flushed whole; call `tell` after each.

    What fails goes to `failures_path` of that file and is not tried again until its line is deleted there. A last line
    that was cut off by a kill is removed first. Raises CalibrationError when a file holds anything else.
    """
    known = {path: recorded(path) for path in set(paths.values())}
    left = [subject for subject, path in paths.items() if subject not in known[path]]
    for result in measure(left):
        path = paths[result.subject]
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(result, Failure):
            _append(failures_path(path), failure_line(result))
        else:
            _append(path, to_json_line(result))
        tell(result)


def failures_path(path: Path) -> Path:
    """Return where the failures of a file of measurements stand: `x.jsonl` has `x.failures.jsonl`."""
    return path.with_suffix(".failures.jsonl")


def recorded(path: Path) -> frozenset[Subject]:
    """Return the subjects that need no measuring: those in `path`, and those that failed before.

    A last line without an end, which a kill leaves behind, is cut off in the file.
    """
    subjects: set[Subject] = set()
    for each in (path, failures_path(path)):
        _cut_unfinished_line(each)
    if path.exists():
        subjects.update(known.subject for known in parse_measurements(path.read_text(encoding="utf-8"), str(path)))
    if failures_path(path).exists():
        subjects.update(failed.subject for failed in parse_failures(failures_path(path).read_text(encoding="utf-8")))
    return frozenset(subjects)


def _measured(prepared: Prepared, counter: Path) -> Measurement | Failure:
    backend = BACKENDS.get(prepared.subject.backend)
    where = provenance(backend.packages, THREADS, backend.runs, backend.worker)
    try:
        result = subprocess.run(
            backend.command(prepared.subject, prepared.artefact, THREADS, backend.runs),
            env=worker_environment(counter, THREADS),
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        if result.returncode != 0:
            return Failure(prepared.subject, f"The run ended with {result.returncode}: {last_line(result.stderr)}")
        observation = parse_observation(result.stdout)
    except subprocess.TimeoutExpired:
        return Failure(prepared.subject, f"The run took more than {RUN_SECONDS:.0f} s.")
    except MeasurementError as error:
        return Failure(prepared.subject, str(error))
    artefact = replace(prepared.artefact, path=None)  # it lies in a folder that is about to go
    return Measurement(prepared.subject, prepared.parameter_numel, artefact, observation, where)


def _append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def _cut_unfinished_line(path: Path) -> None:
    if not path.exists():
        return
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)
