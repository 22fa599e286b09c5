"""A report as a notebook shows it: bars against the budget, without a script."""

from collections.abc import Sequence

from edgebudget.figures.bars import bar_chart
from edgebudget.figures.page import render_page
from edgebudget.verdict import CheckResult

_SHOWN = 20  # models on devices; a notebook cell is no place for more


def report_html(decision: str, groups: Sequence[tuple[str, Sequence[CheckResult]]], failed: Sequence[str]) -> str:
    """Return the figure of `groups`, each with its title and its options; `failed` says what could not be estimated."""
    shown = [(title, options, bar_chart(options)) for title, options in groups[:_SHOWN]]
    left_out = max(len(groups) - _SHOWN, 0)
    return render_page("notebook.html", {"decision": decision, "groups": shown, "left_out": left_out, "failed": failed})
