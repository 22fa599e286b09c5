"""A self-contained HTML page: nothing loaded from elsewhere, readable on a phone, in the dark, without its script."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgebudget.dtypes import DTYPES
from edgebudget.figures.bars import bar_chart
from edgebudget.figures.over_time import Peak, figure_data, peak_of, to_script_json
from edgebudget.figures.page import render_page
from edgebudget.labels import LABELS
from edgebudget.profiles.interface import DeviceProfile
from edgebudget.profiles.show import DetailRow, detail_rows
from edgebudget.report import Group, OptionKey, Report, key_of, to_draw
from edgebudget.reporters._parts import (
    dtypes,
    growth_lines,
    headline,
    number,
    peak_op_text,
    shared_reasons,
)
from edgebudget.runtimes import RUNTIMES
from edgebudget.verdict import CheckResult, Decision

SECTIONS = 40
"""How many models on devices in runtimes have a section of their own; the others have a row an option."""

FIGURE_BYTES = 2_500_000
"""How much the data of figures may take: with Plotly (2 MB) and the tables a page stays below 6 MB."""

MAIN_KEYS = ("raw_peak_bytes", "peak_low_bytes", "peak_high_bytes", "budget_bytes", "headroom_bytes", "storage_bytes")
_DECIDING = ("memory.", "storage.", "budget")


@dataclass(frozen=True)
class HtmlReporter:
    """Numbers stand in cells, and exact in their `data-value` attribute under their `data-key`."""

    name: str = "html"
    suffix: str = ".html"

    def render(self, report: Report) -> str:
        shown = report.groups()
        figures, data = _figures(report, shown[:SECTIONS])
        sized = sum(result.raw_peak_bytes is not None for result in report.results)
        return render_page(
            "report.html",
            {
                "report": report,
                "headline": headline(report),
                "growth_lines": growth_lines,
                "groups": shown,
                "sections": SECTIONS,
                "main_keys": MAIN_KEYS,
                "dtypes": dtypes(report),
                "labels": LABELS,
                "number": number,
                "bar_chart": bar_chart,
                "figures": figures,
                "draws": bool(figures),
                "drawn": len(figures),
                "left_out_figures": sized - len(figures) if figures else 0,
                "figure_json": to_script_json(data),
                "key_of": key_of,
                "origin_of": lambda group: _origin(report, group),
                "peak_op_text": peak_op_text,
                "reasons": _reasons,
            },
        )


Reasons = list[tuple[str, str]]


def _reasons(options: Sequence[CheckResult]) -> tuple[Reasons, Reasons]:
    """Return what decided each option, and everything else that its verdict says: RAM comes first, then storage."""
    deciding = [replace(o, reasons=o.reasons[: 1 if o.decision is Decision.GO else 2]) for o in options]
    first = shared_reasons(deciding)
    said = {reason for _, reason in first}
    return first, [(names, reason) for names, reason in shared_reasons(options) if reason not in said]


@dataclass(frozen=True, slots=True)
class Figure:
    """One option over time: the id of its data, its peak, whether there is an arena to draw, whether it starts open."""

    id: str
    peak: Peak | None
    planned: bool
    is_open: bool


def _figures(report: Report, shown: list[Group]) -> tuple[dict[OptionKey, Figure], dict[str, Mapping[str, object]]]:
    """Return the figures of the options to draw, with their data by id, as far as `FIGURE_BYTES` go."""
    within = {key_of(option) for group in shown for option in group.options}
    wanted = to_draw(result for result in report.results if key_of(result) in within)
    figures: dict[OptionKey, Figure] = {}
    data: dict[str, Mapping[str, object]] = {}
    nbytes = 0
    for key in wanted:
        if key not in report.layouts:
            continue
        layout = report.layouts[key]
        drawn = figure_data(layout)
        nbytes += len(json.dumps(drawn, separators=(",", ":")))
        if nbytes > FIGURE_BYTES:
            break
        name = f"f{len(figures)}"
        data[name] = drawn
        figures[key] = Figure(name, peak_of(layout), drawn["arena_bytes"] is not None, is_open=not figures)
    return figures, data


@dataclass(frozen=True)
class Origin:
    """What stands behind the numbers of one group: descriptions, what is not modelled, the profile's sources."""

    runtime: str
    dtypes: tuple[tuple[str, str], ...]
    unmodelled: tuple[str, ...]
    display_name: str
    estimated: str
    figures: tuple[DetailRow, ...]


def _origin(report: Report, group: Group) -> Origin:
    profile = report.profiles.get(group.device)
    known = DTYPES.names()
    return Origin(
        runtime=RUNTIMES.get(group.runtime).description if group.runtime in RUNTIMES.names() else "",
        dtypes=tuple((o.dtype, DTYPES.get(o.dtype).description) for o in group.options if o.dtype in known),
        unmodelled=tuple(dict.fromkeys(op for option in group.options for op in option.unmodelled_ops)),
        display_name=profile.display_name if profile else "",
        estimated=_estimated(profile) if profile else "",
        figures=tuple(row for row in detail_rows(profile) if row.field.startswith(_DECIDING)) if profile else (),
    )


def _estimated(profile: DeviceProfile) -> str:
    fields = profile.estimated_fields
    if not fields:
        return "the figures behind its budgets were published or measured."
    return f"its budgets rest on estimates: {', '.join(fields)}."


REPORTER = HtmlReporter()
