"""Errors as Markdown tables: in full, as `edgebudget validate` prints them; at a glance, as the README has them."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from edgebudget.validation.calibrated import Pooled, Verdicts
from edgebudget.validation.compare import Comparison, Summary, summarize


def error_table(comparisons: Sequence[Comparison]) -> str:
    """Return a row a runtime, dtype and figure: the number of models, and median, p95, worst and signed errors."""
    lines = [
        "| on | runtime | dtype | figure | models | median | p95 | worst | bias |",
        "|---|---|---|---|--:|--:|--:|--:|--:|",
    ]
    lines += [_row(s) for s in summarize(comparisons)]
    return "\n".join(lines) + "\n"


def _row(s: Summary) -> str:
    return (
        f"| {s.machine} | {s.runtime} | {s.dtype} | {s.figure} | {s.count} | {s.median:.1%} | {s.p95:.1%} | "
        f"{s.worst:.0%} ({s.worst_model.rpartition(':')[2]}) | {s.bias:+.1%} |"
    )


OVERVIEW: Mapping[str, tuple[str, ...]] = {
    "arena": ("planned arena", "allocator peak"),
    "heap, load": ("load heap",),
    "heap, inference": ("inference heap",),
    "process, load": ("load process",),
    "process, inference": ("inference process",),
    "file": ("file",),
}
"""The columns of the overview, and the figures that stand in each: activations alone go by two names."""


def overview_table(comparisons: Sequence[Comparison]) -> str:
    """Return a row a runtime and dtype: the number of models, and the median and 95th percentile of each error."""
    rows: dict[tuple[str, str, str], dict[str, Summary]] = {}
    for summary in summarize(comparisons):
        rows.setdefault((summary.machine, summary.runtime, summary.dtype), {})[summary.figure] = summary
    lines = [
        f"| on | runtime | dtype | models | {' | '.join(OVERVIEW)} |",
        f"|---|---|---|--:|{'--:|' * len(OVERVIEW)}",
    ]
    for where, by_figure in rows.items():
        models = max(summary.count for summary in by_figure.values())
        cells = [next((by_figure[f] for f in figures if f in by_figure), None) for figures in OVERVIEW.values()]
        shown = [f"{100 * s.median:.1f} / {100 * s.p95:.1f}" if s else "-" for s in cells]
        lines.append(f"| {' | '.join(where)} | {models} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def baseline_table(comparisons: Sequence[Comparison]) -> str:
    """Return the same figure, the heap at inference, by edgebudget and by simpler methods: median and worst error."""
    lines = [
        "| on | runtime | dtype | method | models | median | worst |",
        "|---|---|---|---|--:|--:|--:|",
        *_baseline_rows(comparisons),
    ]
    return "\n".join(lines) + "\n"


def _baseline_rows(comparisons: Sequence[Comparison]) -> Iterator[str]:
    groups: dict[tuple[str, str, str], list[Comparison]] = {}
    for comparison in comparisons:
        if comparison.baselines:
            groups.setdefault((comparison.machine, comparison.runtime, comparison.dtype), []).append(comparison)
    for (machine, runtime, dtype), group in groups.items():
        methods: dict[str, list[float]] = {"edgebudget": [abs(c.error) for c in group]}
        for comparison in group:
            for method, nbytes in comparison.baselines:
                methods.setdefault(method, []).append(abs(nbytes / comparison.measured_bytes - 1))
        where = f"| {machine} | {runtime} | {dtype}"
        for method, errors in methods.items():
            yield f"{where} | {method} | {len(errors)} | {median(errors):.1%} | {max(errors):.0%} |"


def verdict_table(verdicts: Sequence[Verdicts]) -> str:
    """Return a row a runtime and dtype: errors before and after calibration, how many intervals held, false GO."""
    lines = [
        "| on | runtime | dtype | models | raw median | raw p95 | median | p95 | worst | interval held | false GO |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {v.machine} | {v.runtime} | {v.dtype} | {v.count} | {v.raw_median:.1%} | {v.raw_p95:.1%} | "
        f"{v.median:.1%} | {v.p95:.1%} | {v.worst:.0%} | {v.covered} of {v.count} | {v.false_go} |"
        for v in verdicts
    ]
    return "\n".join(lines) + "\n"


def pooled_table(pooled: Sequence[Pooled]) -> str:
    """Return a row a machine, and one of all: how many intervals held, which share that speaks for, false GO."""
    lines = [
        "| on | verdicts | interval held | share | 95 % interval of the share | false GO |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {p.machine} | {p.count} | {p.covered} | {p.covered / p.count:.1%} | {p.low:.1%} to {p.high:.1%} | "
        f"{p.false_go} |"
        for p in pooled
    ]
    return "\n".join(lines) + "\n"


def model_table(comparisons: Sequence[Comparison]) -> str:
    """Return a row a model and figure, largest error first."""
    lines = [
        "| model | on | runtime | dtype | figure | measured | estimated | error |",
        "|---|---|---|---|---|--:|--:|--:|",
    ]
    lines += [
        f"| {c.model.rpartition(':')[2]} | {c.machine} | {c.runtime} | {c.dtype} | {c.figure} | {c.measured_bytes:,} | "
        f"{c.estimated_bytes:,} | {c.error:+.1%} |"
        for c in sorted(comparisons, key=lambda c: -abs(c.error))
    ]
    return "\n".join(lines) + "\n"
