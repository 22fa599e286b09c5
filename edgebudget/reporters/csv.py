"""CSV: one row an option, the names of the JSON report, nested ones joined by an underscore."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from edgebudget.printable import one_line
from edgebudget.report import Report, ReportError
from edgebudget.reporters._parts import record
from edgebudget.verdict import CheckResult, Decision

if TYPE_CHECKING:
    import pandas as pd

# What makes a spreadsheet take a cell for a formula (OWASP, "CSV Injection"); the tab and the carriage return, which do
# so too, are shown as escapes like all control characters, so that a row stays a line.
_FORMULA_STARTS = ("=", "+", "-", "@")
_LIST_SEPARATOR = "; "

Cell: TypeAlias = "bool | int | str | None"


@dataclass(frozen=True)
class CsvReporter:
    """Rows for spreadsheets: text that one would take for a formula starts with an apostrophe."""

    name: str = "csv"
    suffix: str = ".csv"

    def render(self, report: Report) -> str:
        return csv_text(frame(report))


def csv_text(table: pd.DataFrame) -> str:
    """Return `table` as CSV with its texts made harmless to spreadsheets."""
    harmless = table.copy()
    for column in harmless.columns:
        harmless[column] = harmless[column].map(neutral, na_action="ignore")
    text: str = harmless.to_csv(index=False, lineterminator="\n")
    return text


def frame(report: Report) -> pd.DataFrame:
    """Return one row an option, then one for each model that could not be estimated: its decision is ERROR.

    Sizes and counts are nullable integers (`Int64`), so that a missing one turns none of the others into a float.
    """
    import pandas as pd

    rows = [flat_row(result) for result in report.results] + [error_row(error) for error in report.errors]
    table = pd.DataFrame(rows, columns=list(COLUMNS), dtype=object)
    integers = [name for name in COLUMNS if is_integer(name)]
    return table.astype(dict.fromkeys(integers, "Int64") | {"recommended": "boolean"})


def is_integer(column: str) -> bool:
    """Whether a column holds whole numbers, by its name."""
    return column.endswith(("_bytes", "_numel", "_index")) or column == "batch"


def flat_row(result: CheckResult) -> dict[str, Cell]:
    """Return one option as a row: the names of the JSON report, nested ones joined by an underscore."""
    row: dict[str, Cell] = {}
    for key, value in record(result).items():
        if key == "peak_op":
            nested = value if isinstance(value, dict) else {}
            row.update({f"peak_op_{name}": nested.get(name) for name in ("index", "name", "module")})
        else:
            assert not isinstance(value, dict)
            row[key] = _LIST_SEPARATOR.join(value) if isinstance(value, list) else value
    return row


def error_row(error: ReportError) -> dict[str, Cell]:
    """Return the row of a model that could not be estimated; what it has no value for is left out."""
    return {
        "model": error.model,
        "device": error.device,
        "decision": str(Decision.ERROR),
        "reasons": f"{error.message} {error.hint}".rstrip(),
        "recommended": False,
    }


def neutral(value: object) -> object:
    """Return text as one line that no spreadsheet takes for a formula; other values as they are."""
    if not isinstance(value, str):
        return value
    return f"'{one_line(value)}" if value.startswith(_FORMULA_STARTS) else one_line(value)


COLUMNS = tuple(flat_row(CheckResult("", "", "", "", 1, (), Decision.ERROR, (), False)))
REPORTER = CsvReporter()
