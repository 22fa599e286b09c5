"""JSON, schema_version 1: `schema.json` beside this file says what it holds."""

import json
from dataclasses import asdict, dataclass

from edgebudget.report import SCHEMA_VERSION, Report
from edgebudget.reporters._parts import record


@dataclass(frozen=True)
class JsonReporter:
    """One document with every number as a whole number of bytes or elements."""

    name: str = "json"
    suffix: str = ".json"

    def render(self, report: Report) -> str:
        document = {
            "schema_version": SCHEMA_VERSION,
            "tool": {"name": "edgebudget", "version": report.tool_version},
            "decision": str(report.decision),
            "generated_at": report.generated_at,
            "results": [record(result) for result in report.results],
            "errors": [asdict(error) for error in report.errors],
        }
        # ASCII only, so that no terminal's or file's encoding can damage it
        return json.dumps(document, indent=2) + "\n"


REPORTER = JsonReporter()
