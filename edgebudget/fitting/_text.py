"""Advice as text for a terminal."""

from collections import Counter
from io import StringIO

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from edgebudget.fitting._search import Advice
from edgebudget.fitting.interface import Case, Proposal
from edgebudget.units import format_bytes

WIDTH = 80


def render(advice: Advice) -> str:
    """Return what was asked, where its bytes are, and each proposal with its peak, the ones that fit first."""
    out = StringIO()
    console = Console(file=out, width=WIDTH, color_system=None, force_terminal=False, legacy_windows=False)
    asked = advice.asked
    case = asked.case
    _say(console, f"{case.model} on {case.device.name}, {case.runtime}, {case.dtype}: {_verdict(asked)}")
    for line in _where(case, asked):
        _say(console, line, 2)
    if asked.fits:
        for line in _limit(advice):
            _say(console, line, 2)
    for position, proposal in enumerate(advice.proposals, 1):
        _say(console, "")
        _say(console, f"{position}. {' '.join(what for _, what in proposal.case.changes)}")
        _say(console, _verdict(proposal), 3)
    if not advice.fits:
        _say(console, "")
        _say(console, _failure(advice))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _say(console: Console, text: str, indent: int = 0) -> None:
    console.print(Padding(Text(text), (0, 0, 0, indent)))


def _verdict(proposal: Proposal) -> str:
    result = proposal.result
    if result.peak_high_bytes is None or result.budget_bytes is None:
        return f"{result.decision}. {' '.join(result.reasons)}"
    peak, budget = format_bytes(result.peak_high_bytes), format_bytes(result.budget_bytes)
    stored = f", file {format_bytes(result.storage_bytes)}" if result.storage_bytes is not None else ""
    short = proposal.short_bytes or 0
    missing = f", short by {short:,} bytes" if short else ""
    return f"{result.decision}, peak at most {peak} of {budget}{stored}{missing}"


def _where(case: Case, asked: Proposal) -> list[str]:
    lines = []
    at = asked.result.peak_op
    if at is not None and at.name:
        lines.append(f"Activations peak at {at.name}{f' in {at.module}' if at.module else ''}.")
    weights: Counter[str] = Counter()
    for name, storages in case.graph.parameters.items():
        weights[name.rpartition(".")[0]] += sum(case.graph.storages[s].numel for s in storages)
    if weights and case.graph.parameter_numel:
        module, numel = weights.most_common(1)[0]
        share = numel / case.graph.parameter_numel
        lines.append(f"{module or 'The model itself'} holds {share:.0%} of the parameters, more than any other module.")
    return lines


def _limit(advice: Advice) -> list[str]:
    limit = advice.limit
    if limit is None or limit.fitting is None:
        return []
    lines = [f"Largest input that fits: {', '.join(limit.fitting.result.inputs)}."]
    if limit.beyond is not None and not limit.beyond.fits:
        lines.append(f"Next size, {', '.join(limit.beyond.result.inputs)}: {_verdict(limit.beyond)}.")
    return lines


def _failure(advice: Advice) -> str:
    best = advice.best
    if best is None or best.short_bytes is None:
        return "Nothing fits, and nothing could be estimated: the reasons stand above."
    what = " ".join(text for _, text in best.case.changes) or "As it is."
    return f"Nothing fits. The nearest fails by {best.short_bytes:,} bytes ({format_bytes(best.short_bytes)}): {what}"
