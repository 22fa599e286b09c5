"""What a sweep writes: one row an option, and one for each model that has none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from edgebudget.report import ReportError
from edgebudget.reporters.csv import COLUMNS as REPORT_COLUMNS
from edgebudget.reporters.csv import Cell, error_row, flat_row
from edgebudget.sweeping.plan import Unit
from edgebudget.verdict import CheckResult

Row: TypeAlias = "list[Cell]"

COLUMNS = ("model", "resolution", *REPORT_COLUMNS[1:], "failure")


class Failure(StrEnum):
    """Why a model has one row and no option."""

    NOT_ESTIMATED = "not estimated"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    CRASH = "crash"


@dataclass(frozen=True)
class Finished:
    """A unit with its rows, in the order of COLUMNS."""

    unit: Unit
    rows: tuple[Row, ...]

    @property
    def failure(self) -> str | None:
        """The kind of failure, None where the model was estimated."""
        value = self.rows[0][-1] if self.rows else None
        return None if value is None else str(value)


def estimated(unit: Unit, results: Sequence[CheckResult]) -> Finished:
    """Return the rows of a model's options."""
    return Finished(unit, tuple(_row(unit, flat_row(result), None) for result in results))


def failed(unit: Unit, failure: Failure, message: str, hint: str = "") -> Finished:
    """Return the one row of a model that has no option, with the reason."""
    return Finished(unit, (_row(unit, error_row(ReportError(unit.model, None, message, hint)), failure),))


def _row(unit: Unit, cells: Mapping[str, Cell], failure: Failure | None) -> Row:
    known = {**cells, "resolution": str(unit.resolution), "failure": None if failure is None else str(failure)}
    return [known.get(column) for column in COLUMNS]
