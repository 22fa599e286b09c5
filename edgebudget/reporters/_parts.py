"""What the formats share: which numbers a report shows, in which order and under which words."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TypeAlias

from edgebudget.report import Report
from edgebudget.runtimes.interface import PeakOp
from edgebudget.verdict import RANK, CheckResult, Decision

Value: TypeAlias = "bool | int | str | list[str] | dict[str, int | str] | None"

LABELS: Mapping[str, str] = {
    "parameter_numel": "Parameters, elements",
    "parameter_bytes": "Parameters",
    "buffer_numel": "Buffers, elements",
    "buffer_bytes": "Buffers",
    "activation_peak_numel": "Activations alive at the peak, elements",
    "activation_lower_bound_bytes": "Activations, lower bound of any planner",
    "activation_bytes": "Activations, as this runtime holds them",
    "activation_total_bytes": "Activations, sum (for comparison only)",
    "workspace_bytes": "Workspace",
    "load_heap_bytes": "Heap at the load peak",
    "load_mapped_bytes": "Mapped file at the load peak",
    "inference_heap_bytes": "Heap at the inference peak",
    "inference_mapped_bytes": "Mapped file at the inference peak",
    "runtime_bytes": "Runtime itself",
    "load_peak_bytes": "Load peak = heap + mapped + runtime",
    "inference_peak_bytes": "Inference peak = heap + mapped + runtime",
    "raw_peak_bytes": "Peak as computed: the larger",
    "peak_bytes": "Peak after calibration",
    "peak_low_bytes": "Peak, low end",
    "peak_high_bytes": "Peak, high end",
    "budget_bytes": "RAM budget",
    "headroom_bytes": "Headroom = budget - high end",
    "storage_bytes": "Model file",
    "storage_budget_bytes": "Storage budget",
}


@dataclass(frozen=True)
class Group:
    """The options of one model on one device in one runtime: a column each, by dtype."""

    model: str
    device: str
    runtime: str
    options: tuple[CheckResult, ...]


def groups(report: Report) -> list[Group]:
    """Return the report's options by model, device and runtime, in the order they were asked for."""
    grouped: dict[tuple[str, str, str], list[CheckResult]] = {}
    for result in report.results:
        grouped.setdefault((result.model, result.device, result.runtime), []).append(result)
    return [Group(*key, tuple(options)) for key, options in grouped.items()]


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


def chosen(options: Iterable[CheckResult]) -> CheckResult:
    """Return the option of one pair to explain: the recommended one, else the first of the best decision."""
    return min(options, key=lambda option: (not option.recommended, RANK.index(option.decision)))


def peak_parts(result: CheckResult) -> list[tuple[str, int]]:
    """Return what the computed peak is made of, as (word, bytes) in its order; the bytes sum to `raw_peak_bytes`.

    At inference the heap is split into activations, workspace and the rest, which is the weights as the runtime holds
    them; at loading its split is the runtime's own affair. Empty where the option has no numbers.
    """
    if result.raw_peak_bytes is None:
        return []
    values = {key: number(result, key) or 0 for key in LABELS}
    if values["load_peak_bytes"] > values["inference_peak_bytes"]:
        heap = [("weights and copies while loading", values["load_heap_bytes"])]
        mapped_bytes = values["load_mapped_bytes"]
    else:
        activation_bytes = min(values["activation_bytes"], values["inference_heap_bytes"])
        workspace_bytes = min(values["workspace_bytes"], values["inference_heap_bytes"] - activation_bytes)
        weight_bytes = values["inference_heap_bytes"] - activation_bytes - workspace_bytes
        heap = [("weights", weight_bytes), ("activations", activation_bytes), ("workspace", workspace_bytes)]
        mapped_bytes = values["inference_mapped_bytes"]
    return [*heap, ("mapped file", mapped_bytes), ("runtime", values["runtime_bytes"])]


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
