"""Many models on one GPU into one file of JSON lines, which can be stopped, killed and taken up again."""

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from math import inf
from pathlib import Path
from types import TracebackType

from edgebudget.errors import CalibrationError, MeasurementError
from edgebudget.measure.cuda.records import CudaMeasurement, parse_line, to_json_line
from edgebudget.measure.interface import Failure, Subject

START_SECONDS = 180.0
MODEL_SECONDS = 120.0
_NEEDED: Mapping[str, Callable[[Subject], bool]] = {
    "torchao": lambda subject: subject.dtype.startswith("int"),
    "timm": lambda subject: subject.model.startswith("timm:"),
}


@dataclass(frozen=True, slots=True)
class Skipped:
    """What was not tried, for want of a package: no failure of the model's, and tried again the next time."""

    subject: Subject
    reason: str


Result = CudaMeasurement | Failure | Skipped


def measure(subjects: Sequence[Subject], device: str, seconds: float | None = None) -> Iterator[Result]:
    """Yield the measurement of each subject on `device` (`cuda`, `cuda:1`), or why there is none.

    With `seconds` no model is begun after them, and one that is under way then is given up. What needs a package that
    is not installed is not begun. Raises MeasurementError where there is no such GPU.
    """
    deadline = inf if seconds is None else time.monotonic() + seconds
    with Worker(_command(device)) as worker:
        worker.start()
        for subject in subjects:
            package = next((p for p, needed in _NEEDED.items() if needed(subject) and not find_spec(p)), None)
            if package is not None:
                yield Skipped(subject, f"It needs the package '{package}', which is not installed.")
                continue
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return
            answer = worker.measure(subject, min(MODEL_SECONDS, remaining))
            if isinstance(answer, Failure) and time.monotonic() >= deadline:
                return
            yield answer


def measure_to_file(
    subjects: Sequence[Subject], device: str, path: Path, tell: Callable[[Result], None], seconds: float | None = None
) -> int:
    """Append to `path` what it does not hold yet, a line at a time, flushed whole; return how many are left.

    What fails goes to `x.failures.jsonl` beside `x.jsonl` and is not tried again until its line is deleted there.
    Raises CalibrationError where a file holds anything else, and what `measure` raises.
    """
    known = recorded(path)
    asked = [subject for subject in subjects if subject not in known]
    left = len(asked)
    for answer in measure(asked, device, seconds) if asked else ():
        if isinstance(answer, CudaMeasurement):
            _append(path, to_json_line(answer))
        elif isinstance(answer, Failure):
            _append(failures_path(path), json.dumps({**asdict(answer.subject), "reason": answer.reason}))
        left -= 1
        tell(answer)
    return left


def failures_path(path: Path) -> Path:
    """Return where the failures of a file of measurements stand."""
    return path.with_suffix(".failures.jsonl")


def recorded(path: Path) -> frozenset[Subject]:
    """Return the subjects that need no measuring: those in `path`, and those that failed before.

    A last line without an end, which a kill leaves behind, is cut off in the file.
    """
    subjects: set[Subject] = set()
    for each in (path, failures_path(path)):
        if not each.exists():
            continue
        _cut_unfinished_line(each)
        for number, line in enumerate(each.read_text(encoding="utf-8").splitlines(), 1):
            try:
                record = json.loads(line)
                subject = Subject(record["model"], tuple(record["inputs"]), record["backend"], record["dtype"])
            except (ValueError, KeyError, TypeError, RecursionError):
                raise CalibrationError(
                    f"{each}:{number}: not a measurement of a GPU.", "Delete the line, or write to another file."
                ) from None
            subjects.add(subject)
    return frozenset(subjects)


class Worker:
    """The process that uses the GPU: one for many models, a new one when it died or was given up."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed on leaving

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()
        self._errors.close()

    def start(self) -> None:
        """Start the process unless it runs; raises MeasurementError where it finds no such GPU or does not start."""
        if self._process is not None:
            return
        self._errors.seek(0)
        self._errors.truncate()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, "PYTHONPATH": _import_path()},
        )
        line = self._answer(START_SECONDS)
        if line is None:
            raise MeasurementError(f"The process that uses the GPU did not start: {self._last_words()}")
        said = json.loads(line)
        if "refused" in said:
            self._stop()
            raise MeasurementError(said["refused"], said["hint"])

    def measure(self, subject: Subject, seconds: float) -> CudaMeasurement | Failure:
        """Return the answer for one subject; a process that dies or takes more than `seconds` fails this one only."""
        self.start()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(asdict(subject)) + "\n")
            process.stdin.flush()
        except BrokenPipeError:  # it died; the answer that does not come says so
            pass
        began = time.monotonic()
        line = self._answer(seconds)
        if line is None:
            late = time.monotonic() - began >= seconds
            return Failure(subject, f"It took more than {seconds:.0f} s." if late else self._last_words())
        said = json.loads(line)
        if "ends" in said:
            self._stop()
        return Failure(subject, said["reason"]) if "reason" in said else parse_line(line)

    def _answer(self, seconds: float) -> str | None:
        """Return the next line, or None, and no process any more, where none comes."""
        assert self._process is not None
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        line = self._process.stdout.readline() if ready else ""
        if line.endswith("\n"):
            return line
        self._stop()
        return None

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().splitlines() if line.strip()]
        return f"The process ended: {lines[-1][:300]}" if lines else "The process ended without a word."

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _command(device: str) -> Sequence[str]:
    return [sys.executable, "-m", "edgebudget.measure.cuda.worker", device]


def _import_path() -> str:
    """Return a PYTHONPATH with which a child finds this very package."""
    own = str(Path(__file__).parents[3])
    return os.pathsep.join([own, *filter(None, [os.environ.get("PYTHONPATH")])])


def _append(path: Path, line: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def _cut_unfinished_line(path: Path) -> None:
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)
