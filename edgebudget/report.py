"""What reporters render: every option asked for, and what could not be estimated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgebudget.verdict import RANK, CheckResult, Decision, best

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

    def pairs(self) -> Mapping[tuple[str, str], tuple[CheckResult, ...]]:
        """Return the options of each (model, device) pair, in the order they were asked for."""
        grouped: dict[tuple[str, str], list[CheckResult]] = {}
        for result in self.results:
            grouped.setdefault((result.model, result.device), []).append(result)
        return {pair: tuple(options) for pair, options in grouped.items()}

    def for_device(self, device: str) -> "Report":
        """Return the part of the report that concerns `device`, with its own decision."""
        results = tuple(r for r in self.results if r.device == device)
        errors = tuple(e for e in self.errors if e.device in (device, None))
        return replace(self, decision=worst_decision(results, errors), results=results, errors=errors)


def worst_decision(results: Sequence[CheckResult], errors: Sequence[ReportError]) -> Decision:
    """Return the decision over all (model, device) pairs of `results`: the worst pair's, ERROR when there are `errors`.

    A pair is as good as its best option. ERROR too when there is nothing to decide on.
    """
    options: dict[tuple[str, str], list[Decision]] = {}
    for result in results:
        options.setdefault((result.model, result.device), []).append(result.decision)
    if errors or not options:
        return Decision.ERROR
    return max((best(decisions) for decisions in options.values()), key=RANK.index)


def exit_code(report: Report, *, allow_marginal: bool) -> int:
    """Return what the command ends with: 0 where every pair has an option to take, 1 where some pair has none, 2 where
    something could not be estimated. MARGINAL is an option to take only with `allow_marginal`."""
    good = {Decision.GO, Decision.MARGINAL} if allow_marginal else {Decision.GO}
    if report.decision is Decision.ERROR:
        return 2
    return 0 if report.decision in good else 1
