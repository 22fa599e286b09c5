"""An estimate against a profile: a verdict in whole bytes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache, partial
from math import floor

from edgebudget.calibration.model import CUDA, Interval
from edgebudget.calibration.store import Calibrations, shipped
from edgebudget.dtypes import DTYPES
from edgebudget.errors import UsageError
from edgebudget.estimation import MemoryEstimate
from edgebudget.graph import FLOATING, TracedGraph, once_per_graph
from edgebudget.labels import LABELS
from edgebudget.notebook import size_text, table_html
from edgebudget.profiles.interface import DeviceProfile
from edgebudget.runtimes.interface import MemoryLayout, PeakOp, Unsupported
from edgebudget.units import format_bytes

# Without a calibration nobody has held this runtime's model against this device. Plain liveness is 10 to 60 % off what
# allocators take, a model of the runtime's own layout far less; a quarter either way covers the latter, not the former.
UNCALIBRATED_LOW = Fraction(3, 4)
UNCALIBRATED_HIGH = Fraction(5, 4)
_UNCALIBRATED = (
    f"Not calibrated: the interval is wide, {int((1 - UNCALIBRATED_LOW) * 100)} % below to "
    f"{int((UNCALIBRATED_HIGH - 1) * 100)} % above the computed peak."
)


class Decision(StrEnum):
    GO = "GO"
    MARGINAL = "MARGINAL"
    NO_GO = "NO-GO"
    UNSUPPORTED = "UNSUPPORTED"
    ERROR = "ERROR"


RANK = (Decision.GO, Decision.MARGINAL, Decision.NO_GO, Decision.UNSUPPORTED, Decision.ERROR)


def best(decisions: Sequence[Decision]) -> Decision:
    """Return the best of `decisions`, GO first; ERROR for none."""
    return min(decisions, key=RANK.index, default=Decision.ERROR)


@dataclass(frozen=True)
class CheckResult:
    """One option: model x device x runtime x dtype. The fields are the keys of the JSON report, in its order.

    Sizes are None where the option is in ERROR, and all but the weights' and the budgets where it is UNSUPPORTED: what
    was not estimated has no number.
    """

    model: str
    device: str
    runtime: str
    dtype: str
    batch: int
    inputs: tuple[str, ...]
    decision: Decision
    reasons: tuple[str, ...]
    recommended: bool
    parameter_numel: int | None = None
    buffer_numel: int | None = None
    activation_peak_numel: int | None = None
    parameter_bytes: int | None = None
    buffer_bytes: int | None = None
    activation_lower_bound_bytes: int | None = None
    activation_bytes: int | None = None
    activation_total_bytes: int | None = None
    workspace_bytes: int | None = None
    runtime_bytes: int | None = None
    load_heap_bytes: int | None = None
    inference_heap_bytes: int | None = None
    load_mapped_bytes: int | None = None
    inference_mapped_bytes: int | None = None
    load_peak_bytes: int | None = None
    inference_peak_bytes: int | None = None
    raw_peak_bytes: int | None = None
    peak_bytes: int | None = None
    peak_low_bytes: int | None = None
    peak_high_bytes: int | None = None
    calibration: str | None = None
    budget_bytes: int | None = None
    headroom_bytes: int | None = None
    storage_bytes: int | None = None
    storage_budget_bytes: int | None = None
    peak_op: PeakOp | None = None
    unmodelled_ops: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        """Return every number with its words as a table, for notebooks."""
        numbers = [(label, size_text(key, getattr(self, key))) for key, label in LABELS.items()]
        known = [(label, text) for label, text in numbers if text]
        caption = f"{self.decision}: {self.model} on {self.device}, {self.runtime} {self.dtype}"
        return table_html(caption, [*known, *(("", reason) for reason in self.reasons)])


def check(
    estimate: MemoryEstimate,
    profile: DeviceProfile,
    *,
    calibrations: Calibrations | None = None,
    headroom_percent: float = 0.0,
    model: str | None = None,
    batch: int | None = None,
) -> CheckResult:
    """Return the verdict on `estimate` for the device of `profile`. Pure; compares whole bytes.

    The estimate is laid out for the device's own target. `headroom_percent` of the budget is kept free on top of the
    profile's safety margin. `calibrations` are the fits to choose from, by default those shipped. `model` and `batch`
    are what the report says was asked for; they default to the graph's
    name and the first dimension of its first input. Raises UsageError for a headroom outside 0 to 100.
    """
    if not 0 <= headroom_percent <= 100:
        raise UsageError(f"A headroom of {headroom_percent} % is outside 0 to 100.", "Write, for example, 20.")
    estimate = estimate.on(profile.target)
    graph = estimate.graph
    budget_bytes = _less_headroom(profile.budget_bytes, headroom_percent)
    storage_budget_bytes = profile.storage_budget_bytes
    asked = partial(
        CheckResult,
        model=graph.name if model is None else model,
        device=profile.name,
        runtime=estimate.runtime,
        dtype=estimate.dtype,
        batch=leading_dimension(graph) if batch is None else batch,
        inputs=describe_inputs(graph),
        recommended=False,
        parameter_numel=estimate.parameter_numel,
        buffer_numel=estimate.buffer_numel,
        parameter_bytes=estimate.parameter_bytes,
        buffer_bytes=estimate.buffer_bytes,
        budget_bytes=budget_bytes,
        storage_budget_bytes=storage_budget_bytes,
    )
    unsupported = partial(asked, decision=Decision.UNSUPPORTED)
    element_dtypes = DTYPES.get(estimate.dtype).element_dtypes
    for element_dtype in element_dtypes:
        if profile.dtypes.get(element_dtype) == "unsupported":
            return unsupported(reasons=(f"{profile.name} cannot compute in {element_dtype}.", *_estimates(profile)))
    if isinstance(estimate.layout, Unsupported):
        return unsupported(reasons=(estimate.layout.reason, *_estimates(profile)))
    layout = _with_overhead(estimate.layout, profile.runtimes.get(estimate.runtime))
    isa = CUDA if profile.gpu == "cuda" and estimate.runtime == "pytorch" else profile.cpu.isa
    known = shipped() if calibrations is None else calibrations
    calibration = known.find(estimate.runtime, estimate.dtype, isa)
    interval = calibration.interval(layout, isa) if calibration else uncalibrated(layout.resident_peak_bytes)
    if profile.budget_is_idle_ram:
        interval = kept_in_ram(interval, layout)
    load_peak_bytes, inference_peak_bytes = layout.load_peak_bytes, layout.inference_peak_bytes
    phase = "loading" if load_peak_bytes > inference_peak_bytes else "inference"
    return asked(
        decision=decide(
            interval.low_bytes, interval.high_bytes, budget_bytes, layout.storage_bytes, storage_budget_bytes
        ),
        activation_peak_numel=layout.activation_peak_numel,
        activation_lower_bound_bytes=layout.activation_lower_bound_bytes,
        activation_bytes=layout.activation_bytes,
        activation_total_bytes=layout.activation_total_bytes,
        workspace_bytes=layout.workspace_bytes,
        runtime_bytes=layout.runtime_bytes,
        load_heap_bytes=layout.load_heap_bytes,
        inference_heap_bytes=layout.inference_heap_bytes,
        load_mapped_bytes=layout.load_mapped_bytes,
        inference_mapped_bytes=layout.inference_mapped_bytes,
        load_peak_bytes=load_peak_bytes,
        inference_peak_bytes=inference_peak_bytes,
        raw_peak_bytes=max(load_peak_bytes, inference_peak_bytes),
        storage_bytes=layout.storage_bytes,
        peak_op=layout.peak_op,
        unmodelled_ops=layout.unmodelled_ops,
        peak_bytes=interval.peak_bytes,
        peak_low_bytes=interval.low_bytes,
        peak_high_bytes=interval.high_bytes,
        headroom_bytes=budget_bytes - interval.high_bytes,
        calibration=calibration.id if calibration else None,
        reasons=(
            *_ram_reasons(interval, budget_bytes, phase),
            *_beyond_reasons(layout, interval, budget_bytes, profile),
            *_limit_reasons(interval, budget_bytes, profile),
            *_storage_reasons(layout.storage_bytes, profile),
            *_accelerator_reasons(estimate, layout, profile),
            *_caveats(estimate, layout, profile, element_dtypes),
            *(calibration.caveats(isa) if calibration else [_UNCALIBRATED]),
        ),
    )


def decide(
    low_bytes: int, high_bytes: int, budget_bytes: int, storage_bytes: int, storage_budget_bytes: int | None
) -> Decision:
    """Return GO where even the high end fits the budget and the file its storage, NO-GO where the low end or the file
    does not, MARGINAL between. A storage budget of None is not known and not held against the file."""
    if low_bytes > budget_bytes or (storage_budget_bytes is not None and storage_bytes > storage_budget_bytes):
        return Decision.NO_GO
    return Decision.GO if high_bytes <= budget_bytes else Decision.MARGINAL


def uncalibrated(peak_bytes: int) -> Interval:
    """Return the interval where no measurement stands behind a peak: wide, and widened to whole bytes."""
    low, high = UNCALIBRATED_LOW, UNCALIBRATED_HIGH
    return Interval(
        peak_bytes * low.numerator // low.denominator, peak_bytes, -(-peak_bytes * high.numerator // high.denominator)
    )


def kept_in_ram(interval: Interval, layout: MemoryLayout) -> Interval:
    """Return `interval` with a low end that leaves out what a system short of RAM takes back.

    The pages of a mapped file that loading reads once, and those of the runtime's code, are clean: Linux drops them and
    reads them again. The heap has to stay, and the weights in mapped pages that every run reads.
    """
    low = interval.low_bytes / max(interval.peak_bytes, 1)
    return replace(interval, low_bytes=min(interval.low_bytes, floor(kept_bytes(layout) * low)))


def kept_bytes(layout: MemoryLayout) -> int:
    """Return what of a layout has to be in RAM for it to load and to run without reading its file again and again."""
    return max(layout.load_heap_bytes, layout.inference_heap_bytes + layout.inference_mapped_bytes)


@once_per_graph
def describe_inputs(graph: TracedGraph) -> tuple[str, ...]:
    """Return each input as `--input` takes it: `1x3x224x224:float32`."""
    specs = [graph.tensors[t] for t in graph.inputs]
    return tuple(f"{'x'.join(map(str, s.shape)) or 'scalar'}:{s.dtype}" for s in specs)


def leading_dimension(graph: TracedGraph) -> int:
    """Return the first dimension of the first input, where batches stand by convention; 1 where there is none."""
    shapes = [graph.tensors[t].shape for t in graph.inputs]
    return shapes[0][0] if shapes and shapes[0] else 1


def _with_overhead(layout: MemoryLayout, overhead_bytes: int | None) -> MemoryLayout:
    """Put the profile's figure for the runtime itself in the place of the runtime's own, where the profile has one."""
    return layout if overhead_bytes is None else replace(layout, runtime_bytes=overhead_bytes)


def _ram_reasons(interval: Interval, budget_bytes: int, phase: str) -> list[str]:
    low_over_bytes = interval.low_bytes - budget_bytes
    high_over_bytes = interval.high_bytes - budget_bytes
    if low_over_bytes > 0:
        short = f"Short of RAM by at least {_size(low_over_bytes)}"
        return [f"{short}: the peak, at {phase}, is {_size(interval.low_bytes)} at best."]
    if high_over_bytes > 0:
        short = f"May be short of RAM by up to {_size(high_over_bytes)}"
        return [f"{short}: the peak, at {phase}, is {_size(interval.high_bytes)} at worst."]
    spare = f"Fits in RAM with {_size(-high_over_bytes)} to spare"
    return [f"{spare}: the peak, at {phase}, is {_size(interval.high_bytes)} at worst."]


def _beyond_reasons(layout: MemoryLayout, interval: Interval, budget_bytes: int, profile: DeviceProfile) -> list[str]:
    """Say what a system does when a peak is beyond the budget: heap stays in RAM, clean pages of files need not."""
    if interval.high_bytes <= budget_bytes or not profile.budget_is_idle_ram:
        return []
    heap_bytes = max(layout.load_heap_bytes, layout.inference_heap_bytes)
    if heap_bytes > budget_bytes:
        return [
            f"The heap alone is {_size(heap_bytes)}: without swap the system ends the process, or reads its program "
            "again and again."
        ]
    return [
        f"The heap, {_size(heap_bytes)}, fits; the rest are pages of the model's file and of the runtime, which the "
        "system can drop and read again: short of RAM it is slowed before it is ended."
    ]


def _limit_reasons(interval: Interval, budget_bytes: int, profile: DeviceProfile) -> list[str]:
    """Say what a peak beyond the budget meets next: a ceiling of one process, or the end of a block of RAM."""
    memory = profile.memory
    ceiling_bytes, region = memory.ceiling_bytes, memory.largest_region
    if ceiling_bytes is not None and interval.low_bytes > budget_bytes:
        if interval.high_bytes > ceiling_bytes:
            return [f"One process may have {_size(ceiling_bytes)} at the very most."]
        return [
            f"Within the {_size(ceiling_bytes)} that one process may have, it can work for as long as the system takes "
            "memory back from other processes."
        ]
    decides = region is not None and memory.limits.get("memory.regions") == min(memory.limits.values())
    if region is not None and decides and interval.high_bytes > budget_bytes:
        return [
            f"The arena has to stand in one piece: the largest block of RAM is {region.name}, "
            f"{_size(region.size_bytes)}."
        ]
    return []


def _storage_reasons(storage_bytes: int, profile: DeviceProfile) -> list[str]:
    where = "flash" if profile.memory.weights_in == "flash" else "storage"
    limit_bytes = profile.storage_budget_bytes
    if limit_bytes is None:
        return [f"The profile gives no {where} limit: the file, {_size(storage_bytes)}, is not checked against one."]
    if storage_bytes > limit_bytes:
        return [f"Short of {where} by {_size(storage_bytes - limit_bytes)}: the file is {_size(storage_bytes)}."]
    return [f"Fits in {where} with {_size(limit_bytes - storage_bytes)} to spare: the file is {_size(storage_bytes)}."]


def _accelerator_reasons(estimate: MemoryEstimate, layout: MemoryLayout, profile: DeviceProfile) -> list[str]:
    """Say what of the model fits the memories of accelerators that compute in its element type."""
    if not profile.accelerators:
        return []
    weights_bytes = estimate.parameter_bytes + estimate.buffer_bytes
    activation_bytes = layout.activation_lower_bound_bytes
    held_bytes = {"weights": weights_bytes, "activations": activation_bytes, "both": weights_bytes + activation_bytes}
    words = {"weights": "weights", "activations": "activations", "both": "weights and activations"}
    element_dtypes = set(DTYPES.get(estimate.dtype).element_dtypes)
    said = []
    for accelerator in profile.accelerators:
        for memory in accelerator.memories:
            if not element_dtypes <= set(accelerator.dtypes) or memory.holds == "cache":
                continue
            asked_bytes = held_bytes[memory.holds]
            what = (
                f"{accelerator.label}: the {words[memory.holds]}, {_size(asked_bytes)} before any padding of its own,"
            )
            over_bytes = asked_bytes - memory.size_bytes
            if over_bytes <= 0:
                said.append(f"{what} fit its {memory.name}, {_size(memory.size_bytes)}.")
                continue
            rest = "the rest is read from the RAM" if memory.beyond == "ram" else "the model does not run there"
            said.append(f"{what} exceed its {memory.name} by {_size(over_bytes)}: {rest}.")
    return said


def _caveats(
    estimate: MemoryEstimate,
    layout: MemoryLayout,
    profile: DeviceProfile,
    element_dtypes: Sequence[str],
) -> list[str]:
    said = []
    truncation = estimate.graph.truncation
    if truncation is not None:
        where = f" in {truncation.module}" if truncation.module else ""
        said.append(
            f"The trace covers the model up to {truncation.target}{where} only, which {truncation.reason.rstrip('.')}: "
            "what comes after it is not counted."
        )
    for element_dtype in element_dtypes:
        support = profile.dtypes.get(element_dtype)
        if support is None:
            said.append(f"The profile does not say whether {profile.name} computes in {element_dtype}.")
        elif support == "emulated":
            said.append(f"{profile.name} emulates {element_dtype}: it runs, but slower.")
        elif support == "storage":
            said.append(f"{profile.name} stores {element_dtype} but computes in a wider type.")
    said += _estimates(profile)
    if layout.runtime_bytes == 0:
        said.append(f"The fixed cost of {estimate.runtime} itself is not counted: there is no figure for it.")
    region = profile.memory.largest_region
    if region is not None and profile.memory.weights_in == "ram" and layout.activation_bytes > region.size_bytes:
        said.append(
            f"The RAM of {profile.name} is split: its largest block is {_size(region.size_bytes)}, and activations "
            f"take {_size(layout.activation_bytes)} in one piece."
        )
    if region is not None and region.speed == "slow" and not _fits_fast(layout, profile):
        said.append(f"Only the slower {region.name} of {profile.name} has a block that is large enough.")
    if layout.unmodelled_ops:
        said.append(f"Scratch memory is not modelled for: {', '.join(layout.unmodelled_ops)}.")
    return [*said, *_sparsity(estimate.graph), *layout.notes]


@once_per_graph
def _sparsity(graph: TracedGraph) -> tuple[str, ...]:
    """Say what zeros in weights save: nothing where the weights are dense, and indices where they are not."""
    said = []
    masks_bytes = sum(
        graph.storages[storage].nbytes
        for name, storages in graph.buffers.items()
        if name.endswith("_mask") and f"{name.removesuffix('_mask')}_orig" in graph.parameters
        for storage in storages
    )
    if masks_bytes:
        said.append(
            f"Pruned weights are dense: their zeros save nothing, and their masks take {_size(masks_bytes)} until "
            "torch.nn.utils.prune.remove makes them permanent."
        )
    parts = [graph.storages[s] for storages in graph.parameters.values() if len(storages) > 1 for s in storages]
    indices_bytes = sum(part.nbytes for part in parts if part.dtype not in FLOATING)
    if indices_bytes:
        values_bytes = sum(part.nbytes for part in parts) - indices_bytes
        said.append(
            f"Sparse weights count {_size(values_bytes)} of values, as traced, and {_size(indices_bytes)} of indices."
        )
    return tuple(said)


def _estimates(profile: DeviceProfile) -> list[str]:
    estimated = profile.estimated_fields
    return [f"The budgets of {profile.name} rest on estimates: {', '.join(estimated)}."] if estimated else []


def _fits_fast(layout: MemoryLayout, profile: DeviceProfile) -> bool:
    """Whether the arena finds room in a block of the device's fast RAM."""
    arena_bytes = layout.activation_bytes + layout.workspace_bytes
    return any(r.size_bytes >= arena_bytes for r in profile.memory.regions if r.speed == "fast")


def _less_headroom(budget_bytes: int, headroom_percent: float) -> int:
    if not headroom_percent:
        return budget_bytes
    return floor(budget_bytes * (100 - Fraction(str(headroom_percent))) / 100)


@lru_cache(maxsize=10_000)
def _size(nbytes: int) -> str:
    exact = "1 byte" if nbytes == 1 else f"{nbytes:,} bytes"
    return f"{exact} ({format_bytes(nbytes)})" if nbytes >= 2**10 else exact
