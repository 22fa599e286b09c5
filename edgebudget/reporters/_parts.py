"""What the formats share: which numbers a report shows, in which order and under which words."""

from collections.abc import Iterable
from dataclasses import fields
from typing import TypeAlias

from edgebudget.report import Report
from edgebudget.runtimes.interface import PeakOp
from edgebudget.verdict import CheckResult, Decision

Value: TypeAlias = "bool | int | str | list[str] | dict[str, int | str] | None"


def dtypes(report: Report) -> list[str]:
    """Return the dtypes of the report, in the order they were asked for."""
    return list(dict.fromkeys(result.dtype for result in report.results))


def number(result: CheckResult, key: str) -> int | None:
    """Return the integer under one of the keys of `LABELS`."""
    value: int | None = getattr(result, key)
    return value


def record(result: CheckResult) -> dict[str, Value]:
    """Return `result` as the JSON report has it: the contract's keys, in its order."""
    return {field.name: _plain(getattr(result, field.name)) for field in fields(result)}


def shared_reasons(options: Iterable[CheckResult]) -> list[tuple[str, str]]:
    """Return every reason once, in order, with the dtypes that it holds for: `("float32, int8", "Fits ...")`."""
    said: dict[str, list[str]] = {}
    for option in options:
        for reason in option.reasons:
            said.setdefault(reason, []).append(option.dtype)
    return [(", ".join(dtypes), reason) for reason, dtypes in said.items()]


def headline(report: Report) -> str:
    """Return the verdict over all pairs in one line: `GO: 7 of 8 model and device pairs have an option that fits.`"""
    pairs = report.pairs().values()
    going = sum(any(option.decision is Decision.GO for option in options) for options in pairs)
    said = [f"{going} of {len(pairs)} model and device pairs have an option that fits"] if pairs else []
    if report.errors:
        said.append(f"{len(report.errors)} of the models could not be estimated")
    return f"{report.decision}: {'; '.join(said) or 'nothing was asked for'}."


def peak_op_text(peak_op: PeakOp) -> str:
    """Return where the peak stands: `conv2d in features.1.conv (operator 4)`."""
    return f"{peak_op.name} in {peak_op.module or 'the model itself'} (operator {peak_op.index})"


def _plain(value: object) -> Value:
    if isinstance(value, tuple):
        return [str(item) for item in value]
    if isinstance(value, PeakOp):
        return {"index": value.index, "name": value.name, "module": value.module}
    if value is None or isinstance(value, int):
        return value
    return str(value)
