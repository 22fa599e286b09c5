"""What reporters render: every option asked for, and what could not be estimated."""

from dataclasses import dataclass

from edgebudget.verdict import CheckResult, Decision

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class ReportError:
    """A model (on a device, or on all: None) that could not be estimated, with the reason and the remedy."""

    model: str
    device: str | None
    message: str
    hint: str


@dataclass(frozen=True)
class Report:
    """`decision` is that of the worst (model, device) pair, each as good as its best option; ERROR when `errors` is not
    empty. `generated_at` is ISO 8601 in UTC."""

    tool_version: str
    generated_at: str
    decision: Decision
    results: tuple[CheckResult, ...]
    errors: tuple[ReportError, ...]
