"""JSON: models with their totals and layers, every number whole."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from edgebudget import __version__
from edgebudget.inspection.layers import Inspection
from edgebudget.inspection.records import layer_record, total_record
from edgebudget.inspection.rows import Selection, select
from edgebudget.inspection.work import CONVENTION

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class JsonFormat:
    """One document; what is not known is null."""

    name: str = "json"
    suffix: str = ".json"

    def render(self, inspections: Sequence[Inspection], selection: Selection) -> str:
        document = {
            "schema_version": SCHEMA_VERSION,
            "tool": {"name": "edgebudget", "version": __version__},
            "convention": CONVENTION,
            "models": [
                {
                    "model": inspection.model,
                    "inputs": inspection.inputs,
                    "totals": total_record(inspection),
                    "not_counted_ops": inspection.not_counted,
                    "notes": inspection.notes,
                    "layers": [layer_record(layer) for layer in select(inspection, selection)],
                }
                for inspection in inspections
            ],
        }
        return json.dumps(document, indent=2) + "\n"  # ASCII only


FORMAT = JsonFormat()
