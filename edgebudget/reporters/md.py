"""Markdown, for pull requests and wikis: the verdicts first, then every number."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgebudget.labels import LABELS
from edgebudget.printable import one_line
from edgebudget.report import Group, Report
from edgebudget.reporters._parts import (
    dtypes,
    headline,
    number,
    peak_op_text,
    shared_reasons,
)
from edgebudget.units import format_bytes
from edgebudget.verdict import CheckResult

_MARKUP = re.compile(r"[\\`*~\[\]{}|#!@$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


@dataclass(frozen=True)
class MarkdownReporter:
    """A matrix of verdicts, then one table a model, device and runtime with a column a dtype."""

    name: str = "md"
    suffix: str = ".md"

    def render(self, report: Report) -> str:
        lines = ["# Memory verdict", "", f"**{escape(headline(report))}**", ""]
        if report.results:
            lines += [*_matrix(report), ""]
        for group in report.groups():
            lines += [*_details(group), ""]
        if report.errors:
            lines += ["## Not estimated", ""]
            lines += [f"- **{escape(e.model)}**: {escape(f'{e.message} {e.hint}'.rstrip())}" for e in report.errors]
            lines += [""]
        lines += [f"edgebudget {escape(report.tool_version)}, {escape(report.generated_at)}"]
        return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Return `text` so that Markdown, in a table or outside, shows it as it is, on one line."""
    return _MARKUP.sub(r"\\\g<0>", one_line(text)).translate(_ENTITIES)


def _matrix(report: Report) -> list[str]:
    columns = dtypes(report)
    rows = []
    for group in report.groups():
        cells = {option.dtype: _verdict(option) for option in group.options}
        names = (escape(group.model), escape(group.device), escape(group.runtime))
        rows.append([*names, *(cells.get(dtype, "") for dtype in columns)])
    return [
        *table(["Model", "Device", "Runtime", *(escape(dtype) for dtype in columns)], rows),
        "",
        "Each cell: the verdict, and the high end of the peak. In bold: the option to take.",
    ]


def _verdict(option: CheckResult) -> str:
    size = "" if option.peak_high_bytes is None else f" {format_bytes(option.peak_high_bytes)}"
    return f"**{option.decision}**{size}" if option.recommended else f"{option.decision}{size}"


def _details(group: Group) -> list[str]:
    first = group.options[0]
    rows = [["Decision", *(str(option.decision) for option in group.options)]]
    rows += [[label, *(_number(option, key) for option in group.options)] for key, label in LABELS.items()]
    rows.append(["Operator at the peak", *(_peak_op(option) for option in group.options)])
    rows.append(["Calibration", *(escape(option.calibration or "none") for option in group.options)])
    reasons = [f"- {escape(dtypes)}: {escape(reason)}" for dtypes, reason in shared_reasons(group.options)]
    return [
        f"## {escape(group.model)} on {escape(group.device)}, {escape(group.runtime)}",
        "",
        f"Batch {first.batch}, inputs {escape(', '.join(first.inputs) or 'none')}.",
        "",
        *table(["Part", *(escape(option.dtype) for option in group.options)], rows),
        "",
        *reasons,
    ]


def _number(option: CheckResult, key: str) -> str:
    value = number(option, key)
    if value is None:
        return ""
    return f"{value:,} ({format_bytes(value)})" if key.endswith("_bytes") else f"{value:,}"


def _peak_op(option: CheckResult) -> str:
    return escape(peak_op_text(option.peak_op)) if option.peak_op else ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table whose cells are escaped already."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


REPORTER = MarkdownReporter()
