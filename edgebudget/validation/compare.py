"""One measurement and the estimate for the same model, side by side. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from edgebudget.estimation import MemoryEstimate
from edgebudget.evidence import fixed_bytes, machine_of
from edgebudget.graph import Role
from edgebudget.measure.cuda.records import CudaMeasurement
from edgebudget.measure.interface import Measurement
from edgebudget.runtimes._pytorch_cuda import CudaFootprint
from edgebudget.runtimes.interface import MemoryLayout, Unsupported

PROCESS_FLOOR_BYTES = 5_000_000
"""Smaller processes are not compared: pages of the runtime's code, touched or not by chance, outweigh the model."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of one model: what it really took and what was estimated, both in bytes over the idle runtime."""

    model: str
    family: str
    part: str
    runtime: str
    dtype: str
    figure: str
    measured_bytes: int
    estimated_bytes: int
    machine: str = "x86-64"
    baselines: tuple[tuple[str, int], ...] = ()  # what simpler methods say for the same figure

    @property
    def error(self) -> float:
        """(estimated - measured) / measured."""
        return self.estimated_bytes / self.measured_bytes - 1


@dataclass(frozen=True, slots=True)
class Summary:
    """The errors of one figure over a set of models, as fractions; `bias` is the median of the signed errors."""

    machine: str
    runtime: str
    dtype: str
    figure: str
    count: int
    median: float
    p95: float
    worst: float
    worst_model: str
    bias: float


def compare(
    measurement: Measurement, estimate: MemoryEstimate, family: str, part: str, torchinfo_bytes: int | None = None
) -> tuple[Comparison, ...]:
    """Return every figure that `measurement` holds, beside what `estimate` says; none where it is Unsupported.

    `torchinfo_bytes` is what torchinfo says of the model, which is in float32 whatever the runtime does.

    Heap and process are over the idle process that has the runtime loaded. Where a phase took nothing, or a process
    less than PROCESS_FLOOR_BYTES, the relative error has no meaning and the figure is left out.
    """
    layout = estimate.layout
    if isinstance(layout, Unsupported):
        return ()
    figures = _figures(measurement, estimate, layout)
    return tuple(
        Comparison(
            measurement.subject.model,
            family,
            part,
            estimate.runtime,
            estimate.dtype,
            name,
            measured,
            estimated,
            machine_of(measurement),
            _baselines(estimate, layout, torchinfo_bytes) if name == "inference heap" else (),
        )
        for name, measured, estimated in figures
        if measured > 0
    )


def compare_on_gpu(measurement: CudaMeasurement, found: CudaFootprint, family: str) -> tuple[Comparison, ...]:
    """Return what the caching allocator held beside its estimate: nothing of the estimate was tuned on it."""
    subject = measurement.subject
    reserved = measurement.reserved_peak_bytes
    figures = (
        ("GPU, allocated after load", measurement.load_bytes, found.load_allocated_bytes),
        ("GPU, peak allocated", measurement.allocated_peak_bytes, found.allocated_peak_bytes),
        ("GPU, peak reserved", reserved, found.reserved_peak_bytes),
    )
    model = f"{subject.model} {' '.join(subject.inputs)}"
    return tuple(
        Comparison(model, family, "judge", "pytorch", subject.dtype, name, measured, estimated)
        for name, measured, estimated in figures
        if measured > 0
    )


FIGURES = (
    "file", "planned arena", "allocator peak",
    "load heap", "inference heap", "load process", "inference process",
    "GPU, allocated after load", "GPU, peak allocated", "GPU, peak reserved",
)  # fmt: skip
DTYPES_IN_ORDER = (
    "float32", "float16", "bfloat16", "int8", "int8-dynamic", "int8-weight-only", "int4-weight-only",
)  # fmt: skip


def _figures(m: Measurement, estimate: MemoryEstimate, layout: MemoryLayout) -> list[tuple[str, int, int]]:
    figures = []
    fixed = fixed_bytes(m, layout)
    if m.artefact.nbytes is not None:
        figures.append(("file", m.artefact.nbytes, layout.storage_bytes))
    if m.artefact.planned_bytes is not None and estimate.runtime == "executorch":
        figures.append(("planned arena", sum(m.artefact.planned_bytes), layout.activation_bytes))
    if m.observation.allocator is not None:
        inputs_bytes = sum(s.nbytes for s in estimate.graph.of_role(Role.INPUT))
        peak = layout.activation_bytes + layout.workspace_bytes - inputs_bytes
        figures.append(("allocator peak", m.observation.allocator.peak_bytes, peak))
    else:
        figures += [
            ("load heap", m.load_heap_bytes, layout.load_heap_bytes),
            ("inference heap", m.inference_heap_bytes, layout.inference_heap_bytes),
        ]
        processes = [
            ("load process", m.load_process_bytes, layout.load_resident_bytes + fixed),
            ("inference process", m.inference_process_bytes, layout.inference_resident_bytes + fixed),
        ]
        figures += [figure for figure in processes if figure[1] >= PROCESS_FLOOR_BYTES]
    return figures


def _baselines(
    estimate: MemoryEstimate, layout: MemoryLayout, torchinfo_bytes: int | None
) -> tuple[tuple[str, int], ...]:
    weights = estimate.parameter_bytes + estimate.buffer_bytes
    torchinfo = () if torchinfo_bytes is None or estimate.dtype != "float32" else (("torchinfo", torchinfo_bytes),)
    return (
        *torchinfo,
        ("sum of tensors", weights + layout.activation_total_bytes),
        ("liveness", weights + layout.activation_lower_bound_bytes),
    )


def summarize(comparisons: Sequence[Comparison]) -> tuple[Summary, ...]:
    """Return the errors by machine, then runtime, then dtype in the order of precision, then figure."""
    groups: dict[tuple[str, str, str, str], list[Comparison]] = {}
    for comparison in comparisons:
        key = (comparison.machine, comparison.runtime, comparison.dtype, comparison.figure)
        groups.setdefault(key, []).append(comparison)
    machines = list(dict.fromkeys(comparison.machine for comparison in comparisons))
    ordered = sorted(groups, key=lambda key: (machines.index(key[0]), *_order(key[1], key[2], key[3])))
    return tuple(_summary(key, groups[key]) for key in ordered)


def _order(runtime: str, dtype: str, figure: str) -> tuple[str, int, str, int]:
    return (runtime, DTYPES_IN_ORDER.index(dtype) if dtype in DTYPES_IN_ORDER else 99, dtype, FIGURES.index(figure))


def percentile_95(ascending: Sequence[float]) -> float:
    """Return the least of `ascending` that 95 % of them do not exceed."""
    return ascending[-(-95 * len(ascending) // 100) - 1]


def _summary(key: tuple[str, str, str, str], group: Sequence[Comparison]) -> Summary:
    worst = max(group, key=lambda c: abs(c.error))
    sizes = sorted(abs(c.error) for c in group)
    return Summary(
        *key,
        count=len(group),
        median=median(sizes),
        p95=percentile_95(sizes),
        worst=abs(worst.error),
        worst_model=worst.model,
        bias=median(c.error for c in group),
    )
