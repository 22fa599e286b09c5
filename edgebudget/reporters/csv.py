"""CSV: one row an option, the names of the JSON report, nested ones joined by an underscore."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgebudget.printable import one_line
from edgebudget.report import Report, ReportError
from edgebudget.reporters._parts import Value, record
from edgebudget.verdict import CheckResult, Decision

if TYPE_CHECKING:
    import pandas as pd

# What makes a spreadsheet take a cell for a formula (OWASP, "CSV Injection"); the tab and the carriage return, which do
# so too, are shown as escapes like all control characters, so that a row stays a line.
_FORMULA_STARTS = ("=", "+", "-", "@")
_LIST_SEPARATOR = "; "


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

    rows = [_flat(result) for result in report.results] + [_error_row(error) for error in report.errors]
    table = pd.DataFrame(rows, columns=list(_flat(_EMPTY)), dtype=object)
    integers = [name for name in table.columns if name.endswith(("_bytes", "_numel", "_index")) or name == "batch"]
    return table.astype(dict.fromkeys(integers, "Int64") | {"recommended": "boolean"})


_EMPTY = CheckResult("", "", "", "", 1, (), Decision.ERROR, (), False)


def _flat(result: CheckResult) -> dict[str, Value]:
    row: dict[str, Value] = {}
    for key, value in record(result).items():
        if key == "peak_op":
            nested = value if isinstance(value, dict) else {}
            row |= {f"peak_op_{name}": nested.get(name) for name in ("index", "name", "module")}
        else:
            row[key] = _LIST_SEPARATOR.join(value) if isinstance(value, list) else value
    return row


def _error_row(error: ReportError) -> dict[str, Value]:
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


REPORTER = CsvReporter()
