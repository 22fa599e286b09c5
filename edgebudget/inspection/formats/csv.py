"""CSV: one row a layer, the model's name in front."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from edgebudget.inspection.layers import Inspection
from edgebudget.inspection.records import layer_record
from edgebudget.inspection.rows import Selection, select
from edgebudget.reporters.csv import neutral


@dataclass(frozen=True)
class CsvFormat:
    """Rows for spreadsheets: text that one would take for a formula starts with an apostrophe."""

    name: str = "csv"
    suffix: str = ".csv"

    def render(self, inspections: Sequence[Inspection], selection: Selection) -> str:
        rows = [
            {"model": inspection.model, **layer_record(layer)}
            for inspection in inspections
            for layer in select(inspection, selection)
        ]
        out = io.StringIO()
        names = list(rows[0]) if rows else ["model", *layer_record(inspections[0].whole)] if inspections else ["model"]
        writer = csv.DictWriter(out, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: neutral(value) for key, value in row.items()} for row in rows)
        return out.getvalue()


FORMAT = CsvFormat()
