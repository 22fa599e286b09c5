"""What reporters render: every option asked for, and what could not be estimated."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from edgebudget.profiles.interface import DeviceProfile
from edgebudget.runtimes.interface import MemoryLayout
from edgebudget.verdict import RANK, CheckResult, Decision, best

SCHEMA_VERSION = 1

FIGURED_OPTIONS = 24
"""How many options of a device get figures over time: three dtypes of eight models. A figure has a number for every
operator and tensor; for more options than a person looks through, the report holds their verdicts and sizes."""


class OptionKey(NamedTuple):
    """What tells one option of a report from the others."""

    model: str
    device: str
    runtime: str
    dtype: str


def key_of(result: CheckResult) -> OptionKey:
    return OptionKey(result.model, result.device, result.runtime, result.dtype)


@dataclass(frozen=True, slots=True)
class ReportError:
    """A model (on a device, or on all: None) that could not be estimated, with the reason and the remedy."""

    model: str
    device: str | None
    message: str
    hint: str


@dataclass(frozen=True)
class Group:
    """The options of one model on one device in one runtime: a column each, by dtype."""

    model: str
    device: str
    runtime: str
    options: tuple[CheckResult, ...]


@dataclass(frozen=True)
class Report:
    """`decision` is that of the worst (model, device) pair, each as good as its best option; ERROR when `errors` is not
    empty. `generated_at` is ISO 8601 in UTC. `layouts` are those of the options to draw over time, see `to_draw`;
    `profiles` are the devices by name, for the sources of their figures."""

    tool_version: str
    generated_at: str
    decision: Decision
    results: tuple[CheckResult, ...]
    errors: tuple[ReportError, ...]
    layouts: Mapping[OptionKey, MemoryLayout] = field(default_factory=dict)
    profiles: Mapping[str, DeviceProfile] = field(default_factory=dict)

    def pairs(self) -> Mapping[tuple[str, str], tuple[CheckResult, ...]]:
        """Return the options of each (model, device) pair, in the order they were asked for."""
        grouped: dict[tuple[str, str], list[CheckResult]] = {}
        for result in self.results:
            grouped.setdefault((result.model, result.device), []).append(result)
        return {pair: tuple(options) for pair, options in grouped.items()}

    def groups(self) -> list[Group]:
        """Return the options by model, device and runtime, in the order they were asked for."""
        grouped: dict[tuple[str, str, str], list[CheckResult]] = {}
        for result in self.results:
            grouped.setdefault((result.model, result.device, result.runtime), []).append(result)
        return [Group(*key, tuple(options)) for key, options in grouped.items()]

    def for_device(self, device: str) -> "Report":
        """Return the part of the report that concerns `device`, with its own decision."""
        results = tuple(r for r in self.results if r.device == device)
        errors = tuple(e for e in self.errors if e.device in (device, None))
        return replace(
            self,
            decision=worst_decision(results, errors),
            results=results,
            errors=errors,
            layouts={key: layout for key, layout in self.layouts.items() if key.device == device},
            profiles={name: profile for name, profile in self.profiles.items() if name == device},
        )

    def _repr_html_(self) -> str:
        """Return the bars against the budget, for notebooks: no script, so that it shows wherever a notebook does."""
        from edgebudget.figures.notebook import report_html

        drawn = [(f"{g.model} on {g.device}, {g.runtime}", g.options) for g in self.groups()]
        failed = [f"{e.model}: {e.message} {e.hint}" for e in self.errors]
        return report_html(str(self.decision), drawn, failed)


def chosen(options: Iterable[CheckResult]) -> CheckResult:
    """Return the option of one pair to explain: the recommended one, else the first of the best decision."""
    return min(options, key=lambda option: (not option.recommended, RANK.index(option.decision)))


def to_draw(results: Iterable[CheckResult]) -> list[OptionKey]:
    """Return the options worth a figure: on each device the option of each model to explain, then the others in their
    order, `FIGURED_OPTIONS` at most."""
    pairs: dict[str, dict[str, list[CheckResult]]] = {}
    for result in results:
        if result.raw_peak_bytes is not None:
            pairs.setdefault(result.device, {}).setdefault(result.model, []).append(result)
    drawn: list[OptionKey] = []
    for models in pairs.values():
        first = [chosen(options) for options in models.values()]
        others = [option for options in models.values() for option in options]
        drawn += list(dict.fromkeys(map(key_of, [*first, *others])))[:FIGURED_OPTIONS]
    return drawn


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
