"""JSON, schema_version 1: `schema.json` beside this file says what it holds."""

import json
from dataclasses import asdict, dataclass
from importlib.resources import files

from edgebudget.errors import BaselineError
from edgebudget.report import SCHEMA_VERSION, Report, ReportError
from edgebudget.reporters._parts import record
from edgebudget.runtimes.interface import PeakOp
from edgebudget.verdict import CheckResult, Decision


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


def parse(text: str, where: str) -> Report:
    """Return the report that `text` is; what a report holds for its figures alone is not in it.

    Raises BaselineError, which starts with `where`, for any other text.
    """
    from jsonschema import Draft202012Validator  # a tenth of a second, which only a baseline needs

    hint = "Write one with: edgebudget check ... --format json --baseline none"
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise BaselineError(f"{where}: not JSON: {reason}.", hint) from None
    schema = json.loads((files("edgebudget.reporters") / "schema.json").read_text(encoding="utf-8"))
    faults = sorted(Draft202012Validator(schema).iter_errors(document), key=lambda fault: len(fault.absolute_path))
    if faults:
        place = ".".join(map(str, faults[0].absolute_path)) or "the document"
        said = (
            faults[0].message
            if len(faults[0].message) <= 160
            else f"{faults[0].message[:80]} ... {faults[0].message[-70:]}"
        )
        raise BaselineError(f"{where}: not a report of 'edgebudget check': {place}: {said}.", hint)
    return Report(
        tool_version=document["tool"]["version"],
        generated_at=document["generated_at"],
        decision=Decision(document["decision"]),
        results=tuple(_result(result) for result in document["results"]),
        errors=tuple(ReportError(**error) for error in document["errors"]),
    )


def _result(record: dict[str, object]) -> CheckResult:
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
    peak_op = values["peak_op"]
    read = {
        "decision": Decision(str(values["decision"])),
        "peak_op": PeakOp(**peak_op) if isinstance(peak_op, dict) else None,
    }
    return CheckResult(**{**values, **read})  # type: ignore[arg-type]  # the schema has seen to the types


REPORTER = JsonReporter()
