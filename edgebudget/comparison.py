"""Models x devices x runtimes x dtypes in one table: the best choice of each model and device on top, and how far each
option is from float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgebudget.pipeline import DEFAULT_DTYPES, Request, resolve_asked, run
from edgebudget.printable import one_line
from edgebudget.report import Report
from edgebudget.verdict import RANK, CheckResult

if TYPE_CHECKING:
    import pandas as pd


BASELINE = "float32"
COMPARED = ("peak_bytes", "storage_bytes")
"""What is held against float32 in the same runtime, in columns of their own."""


@dataclass(frozen=True)
class Comparison:
    """A report as a table."""

    report: Report

    def to_frame(self) -> pd.DataFrame:
        """Return one row an option, the best one of each model and device first.

        The columns are those of the CSV report, then for each size in `COMPARED` the difference to float32 in the same
        runtime, in bytes and in percent, empty where float32 was not asked for. Sizes are nullable integers.
        """
        from edgebudget.reporters.csv import frame

        order = {id(result): i for i, result in enumerate(self.report.results)}
        ranked = [
            result
            for options in self.report.pairs().values()
            for result in sorted(options, key=lambda option: (*_rank(option), order[id(option)]))
        ]
        table = frame(replace(self.report, results=tuple(ranked)))
        plain = {_setting(r): r for r in ranked if r.dtype == BASELINE}
        for size in COMPARED:
            pairs = [_against(result, plain.get(_setting(result)), size) for result in ranked]
            pairs += [(None, None)] * len(self.report.errors)
            name = f"{size.removesuffix('_bytes')}_vs_{BASELINE}"
            table[f"{name}_bytes"] = [difference for difference, _ in pairs]
            table[f"{name}_percent"] = [percent for _, percent in pairs]
            table = table.astype({f"{name}_bytes": "Int64", f"{name}_percent": "Float64"})
        return table

    def to_csv(self) -> str:
        """Return `to_frame` as CSV."""
        from edgebudget.reporters.csv import csv_text

        return csv_text(self.to_frame())

    def to_markdown(self) -> str:
        """Return a matrix of verdicts: a row for each model on each device, a column for each runtime and dtype; the
        one to take in bold."""
        results = self.report.results
        columns = list(dict.fromkeys((r.runtime, r.dtype) for r in results))
        names = [f"{runtime} {dtype}" for runtime, dtype in columns]
        lines = [_cells(["model", "device", *names]), _cells(["---"] * (2 + len(columns)))]
        for (model, device), options in self.report.pairs().items():
            said = {(o.runtime, o.dtype): f"**{o.decision}**" if o.recommended else str(o.decision) for o in options}
            lines.append(_cells([model, device, *(said.get(column, "") for column in columns)]))
        lines += [f"\n{one_line(error.model)}: {one_line(error.message)}" for error in self.report.errors]
        return "\n".join(lines) + "\n"

    def _repr_html_(self) -> str:
        """Return the report's bars against the budget, for notebooks."""
        return self.report._repr_html_()


def _rank(option: CheckResult) -> tuple[bool, int, int, int]:
    """What is to be taken comes first; then by verdict, then by peak and file."""
    unknown = 2**63
    peak = unknown if option.peak_high_bytes is None else option.peak_high_bytes
    stored = unknown if option.storage_bytes is None else option.storage_bytes
    return (not option.recommended, RANK.index(option.decision), peak, stored)


def _setting(option: CheckResult) -> tuple[str, str, str]:
    return (option.model, option.device, option.runtime)


def _against(option: CheckResult, plain: CheckResult | None, size: str) -> tuple[int | None, float | None]:
    own: int | None = getattr(option, size)
    base: int | None = None if plain is None else getattr(plain, size)
    if own is None or not base:
        return (None, None)
    return (own - base, round(100 * (own - base) / base, 2))


def _cells(texts: Sequence[str]) -> str:
    return f"| {' | '.join(one_line(text).replace('|', chr(92) + '|') for text in texts)} |"


def compare(
    models: Sequence[str],
    devices: Sequence[str],
    dtypes: Sequence[str] | None = None,
    runtimes: Sequence[str] | None = None,
) -> Comparison:
    """Return the verdicts on every model x device x runtime x dtype.

    `devices` are names, globs, `all`, or paths to profiles; `dtypes` default to float32, float16 and int8, `runtimes`
    to each device's own. Raises UsageError for names that do not exist; a model that cannot be estimated stands in the
    report's errors.
    """
    request = Request(
        devices=resolve_asked(devices),
        dtypes=tuple(dtypes or DEFAULT_DTYPES),
        runtimes=tuple(runtimes or ()),
    )
    return Comparison(run(models, request))
