"""Devices x models x dtypes in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgebudget.pipeline import DEFAULT_DTYPES, Request, resolve_asked, run
from edgebudget.report import Report

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Comparison:
    """A report as a table."""

    report: Report

    def to_frame(self) -> pd.DataFrame:
        """Return one row an option, with the columns of the CSV report; sizes are nullable integers."""
        from edgebudget.reporters.csv import frame

        return frame(self.report)

    def _repr_html_(self) -> str:
        """Return the report's bars against the budget, for notebooks."""
        return self.report._repr_html_()


def compare(
    models: Sequence[str],
    devices: Sequence[str],
    dtypes: Sequence[str] | None = None,
    runtimes: Sequence[str] | None = None,
) -> Comparison:
    """Return the verdicts on every model x device x dtype (x runtime).

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
