"""A self-contained HTML page: no script, nothing loaded from elsewhere, readable on a phone and in the dark."""

from dataclasses import dataclass
from importlib.resources import files

from edgebudget.printable import one_line
from edgebudget.report import Report
from edgebudget.reporters._parts import (
    LABELS,
    dtypes,
    groups,
    headline,
    number,
    peak_op_text,
    peak_parts,
    shared_reasons,
)
from edgebudget.units import format_bytes, format_signed_bytes
from edgebudget.verdict import CheckResult

# The same part has the same colour in every bar.
_STYLES = {
    "weights": "part-0",
    "weights and copies while loading": "part-0",
    "activations": "part-1",
    "workspace": "part-2",
    "mapped file": "part-3",
    "runtime": "part-4",
}


@dataclass(frozen=True)
class HtmlReporter:
    """Numbers stand in cells, and exact in their `data-value` attribute under their `data-key`."""

    name: str = "html"
    suffix: str = ".html"

    def render(self, report: Report) -> str:
        from jinja2 import Environment, StrictUndefined

        # Everything that varies is escaped by Jinja, nothing before it.
        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        environment.filters |= {"one_line": one_line, "size": format_bytes, "signed_size": format_signed_bytes}
        source = files("edgebudget.reporters").joinpath("_templates/report.html").read_text(encoding="utf-8")
        page = environment.from_string(source).render(
            report=report,
            headline=headline(report),
            groups=groups(report),
            dtypes=dtypes(report),
            labels=LABELS,
            number=number,
            bars=_bars,
            meter=_meter,
            peak_op_text=peak_op_text,
            shared_reasons=shared_reasons,
        )
        return page.rstrip("\n") + "\n"


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of a bar: its style, its word, its bytes, and its share of the bar in percent."""

    style: str
    word: str
    nbytes: int
    percent: str


def _bars(option: CheckResult) -> list[Bar]:
    """Return the parts of the computed peak, as shares of it."""
    whole_bytes = option.raw_peak_bytes or 1
    return [
        Bar(_STYLES[word], word, nbytes, _percent(nbytes, whole_bytes))
        for word, nbytes in peak_parts(option)
        if nbytes > 0
    ]


def _meter(option: CheckResult) -> list[Bar]:
    """Return the peak's low end and the width of its interval, as shares of the budget or, where it is more, of the
    high end."""
    if option.peak_low_bytes is None or option.peak_high_bytes is None or option.budget_bytes is None:
        return []
    whole_bytes = max(option.budget_bytes, option.peak_high_bytes, 1)
    interval_bytes = option.peak_high_bytes - option.peak_low_bytes
    return [
        Bar("low", "low end", option.peak_low_bytes, _percent(option.peak_low_bytes, whole_bytes)),
        Bar("interval", "interval", interval_bytes, _percent(interval_bytes, whole_bytes)),
        Bar("budget", "budget", option.budget_bytes, _percent(option.budget_bytes, whole_bytes)),
    ]


def _percent(nbytes: int, whole_bytes: int) -> str:
    return f"{100 * nbytes / whole_bytes:.3f}%"


REPORTER = HtmlReporter()
