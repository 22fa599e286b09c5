"""From the part file to one table, a unit at a time: memory does not grow with the sweep."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from edgebudget.errors import MissingExtraError, UsageError
from edgebudget.reporters.csv import is_integer, neutral
from edgebudget.sweeping.rows import COLUMNS, Finished, Row

SUFFIXES = (".csv", ".parquet")
_GROUP_ROWS = 50_000  # rows of one Parquet row group: some ten megabytes


def require_suffix(path: Path) -> None:
    """Raise UsageError unless a table can be written under that name, MissingExtraError where pyarrow is missing."""
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path} is neither CSV nor Parquet.", "Give --out a name that ends in .csv or .parquet.")
    if path.suffix == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise MissingExtraError("pyarrow", "sweep", "Writing Parquet") from None


def write_csv(units: Iterable[Finished], path: Path) -> None:
    """Write one row an option; text that a spreadsheet would take for a formula starts with an apostrophe."""
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for finished in units:
            writer.writerows([neutral(cell) for cell in row] for row in finished.rows)


def write_parquet(units: Iterable[Finished], path: Path) -> None:
    """Write the same rows as Parquet: text as text, counts and sizes as nullable 64-bit integers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"recommended": pa.bool_()}
    columns = [(name, kinds.get(name, pa.int64() if is_integer(name) else pa.string())) for name in COLUMNS]
    schema = pa.schema(columns)
    with pq.ParquetWriter(path, schema) as writer:
        for rows in _groups(units):
            arrays = [pa.array([row[i] for row in rows], type=kind) for i, (_, kind) in enumerate(columns)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _groups(units: Iterable[Finished]) -> Iterator[Sequence[Row]]:
    rows: list[Row] = []
    for finished in units:
        rows += finished.rows
        if len(rows) >= _GROUP_ROWS:
            yield rows
            rows = []
    if rows:
        yield rows
