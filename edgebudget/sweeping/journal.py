"""The part file of a sweep: JSON lines, appended as units finish, taken up again after any kill.

The first line says what the rows belong to; each other line is one finished unit. A line is whole once its end is
there: what a kill cut off is removed on opening, and that unit is done again.
"""

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edgebudget.errors import EdgeBudgetError, OutputError, UsageError
from edgebudget.sweeping.plan import Unit, parse_resolution
from edgebudget.sweeping.rows import COLUMNS, Finished

FORMAT = 1


@dataclass
class Journal:
    """An open part file, locked: nobody else writes to it."""

    path: Path
    descriptor: int
    places: dict[Unit, tuple[int, int]] = field(default_factory=dict)  # where each line is: (offset, bytes)
    size: int = 0

    def add(self, finished: Finished) -> None:
        """Append a unit; whole, or not at all. Raises OutputError."""
        rows = [list(row) for row in finished.rows]
        record = {"model": finished.unit.model, "resolution": str(finished.unit.resolution), "rows": rows}
        offset = self.size
        self.places[finished.unit] = (offset, self.append(record))

    def append(self, record: Mapping[str, object]) -> int:
        """Append one line and return its length in bytes; raises OutputError, and then the file is as it was."""
        data = json.dumps(record, separators=(",", ":")).encode("ascii") + b"\n"
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self.descriptor, left) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self.descriptor, self.size)
            raise OutputError(
                f"Cannot write {self.path}: {error.strerror}.", "What is in it is kept: the same command goes on there."
            ) from error
        self.size += len(data)
        return len(data)

    def read(self, unit: Unit) -> Finished:
        """Return a unit that was added."""
        offset, length = self.places[unit]
        return _finished(json.loads(os.pread(self.descriptor, length, offset)))


@contextmanager
def open_journal(path: Path, header: Mapping[str, object]) -> Iterator[Journal]:
    """Give the part file at `path`, made with `header` or taken up where it has the same one.

    Raises UsageError where it belongs to another sweep or another process is at it, OutputError where it cannot be
    opened; a symbolic link is never followed.
    """
    descriptor = _open_locked(path)
    try:
        journal = Journal(path, descriptor)
        _take_up(journal, {"format": FORMAT, **header})
        yield journal
    finally:
        os.close(descriptor)


def _open_locked(path: Path) -> int:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        except OSError as error:
            raise OutputError(
                f"Cannot write {path}: {error.strerror}.", "Give --out a place where a plain file can be written."
            ) from error
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OutputError(f"{path} is not a regular file.", "Remove it, or give --out another name.")
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UsageError(
                    f"Another sweep is writing {path}.", "Wait for it to end, or give --out another name."
                ) from None
            # One that finished between our opening and our locking has removed the file from under us.
            if path.exists() and os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                return descriptor
        except (EdgeBudgetError, OSError):
            os.close(descriptor)
            raise
        os.close(descriptor)


def _take_up(journal: Journal, header: Mapping[str, object]) -> None:
    with open(journal.descriptor, "rb", closefd=False) as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            try:
                record = json.loads(line)
                if number > 1:
                    journal.places[_finished(record).unit] = (journal.size, len(line))
            except (ValueError, KeyError, TypeError, RecursionError, UsageError):
                raise _foreign(journal.path, f"line {number} is not of a sweep") from None
            if number == 1 and record != header:
                raise _foreign(journal.path, "it belongs to a sweep with other options, or of another version")
            journal.size += len(line)
    os.ftruncate(journal.descriptor, journal.size)
    if not journal.size:
        journal.append(header)


def _foreign(path: Path, problem: str) -> UsageError:
    return UsageError(f"{path} cannot be taken up: {problem}.", "Remove it to start anew, or give --out another name.")


def _are_rows(rows: object) -> bool:
    return (
        isinstance(rows, list)
        and bool(rows)
        and all(isinstance(row, list) and len(row) == len(COLUMNS) for row in rows)
        and all(isinstance(cell, bool | int | str | None) for row in rows for cell in row)
    )


def _finished(record: dict) -> Finished:  # type: ignore[type-arg]
    """Raise ValueError, KeyError or TypeError for what is no unit."""
    model, resolution, rows = record["model"], record["resolution"], record["rows"]
    if not isinstance(model, str) or not isinstance(resolution, str) or not _are_rows(rows):
        raise ValueError("not a unit")
    return Finished(Unit(model, parse_resolution(resolution)), tuple(rows))
