"""What a fit is and what it says about an estimate: frozen, pure, and nothing needed but the standard library.

For each phase (loading, inference) the process is predicted as a sum of the estimate's parts, each times a coefficient
that is never negative. The interval is a pair of ratios of measured to predicted peaks: split-conformal, over models
whose family was left out of the fit (`edgebudget.calibration.conformal`). Both are counted from FLOOR_BYTES below
nothing, since what a process takes is noisy by about that, however small the model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import ceil, floor

from edgebudget.calibration.conformal import ranks
from edgebudget.runtimes.interface import MemoryLayout

SCHEMA_VERSION = 1
PHASES = ("load", "inference")
PARTS: Mapping[str, tuple[str, ...]] = {
    "load": ("heap", "mapped", "constant"),
    "inference": ("weights", "activations", "workspace", "mapped", "constant"),
}
"""What each phase is a sum of. `constant` is one byte, so that its coefficient is in bytes."""

FLOOR_BYTES = 5_000_000
"""Smaller processes say little: pages of the runtime's code, touched or not by chance, outweigh the model."""

ELSEWHERE_WIDENING = 2.0
"""How many times as far from 1 the ratios go for each way in which a fit speaks for what it was not measured on
(another instruction set, another major version): twice the error that was seen, since nothing was measured there."""

CUDA = "cuda"
CUDA_TENSORS = "cuda-tensors"
"""In the place of an instruction set: a GPU's memory in segments, and its tensors alone, as its allocator counts."""

MODELLED: Mapping[str, tuple[str, int]] = {
    "executorch": ("executorch", 1),
    "executorch-xnnpack": ("executorch", 1),
    "onnxruntime": ("onnxruntime", 1),
    "pytorch": ("torch", 2),
}
"""The package and its major version that each runtime's layout is modelled on."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A peak with its interval, in whole bytes: `low_bytes <= peak_bytes <= high_bytes`."""

    low_bytes: int
    peak_bytes: int
    high_bytes: int


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Absolute relative errors of the predicted peak on models that the fit did not see."""

    median: float
    p95: float
    worst: float


@dataclass(frozen=True)
class Fit:
    """A calibration of one runtime and dtype on one instruction set.

    `coefficients[phase][part]` multiply the estimate's parts; all ones (and a constant of 0) where the fitted ones did
    not beat the raw estimate on held-out families, and `note` says so. `low_ratio` and `high_ratio` bound (measured +
    FLOOR_BYTES) / (predicted + FLOOR_BYTES) at `level`, of the process that keeps least and of the one that keeps most
    where the estimate tells them apart. `unseen` of the `models` played no part in modelling the
    runtime. `coverage` is the share of the models, left out, whose ratios lie between the two. `fixed_bytes` is what a
    GPU's context and libraries take besides, 0 for a CPU. `versions` are those of the runtime's packages, `digest` is
    the SHA-256 of the measurements.
    """

    runtime: str
    dtype: str
    isa: str
    level: float
    coefficients: Mapping[str, Mapping[str, float]]
    low_ratio: float
    high_ratio: float
    models: int
    families: int
    unseen: int
    held_out: HeldOut
    held_out_raw: HeldOut
    leave_one_model_out: HeldOut
    coverage: float
    measured_on: str
    measured_from: str
    measured_to: str
    versions: Mapping[str, str]
    digest: str
    note: str = ""
    fixed_bytes: int = 0

    @property
    def id(self) -> str:
        """What reports name it by: runtime, dtype, instruction set, and the first digits of its data's digest."""
        return f"{self.runtime}-{self.dtype}-{self.isa}-{self.digest[:8]}"

    def speaks_for(self, isa: str) -> bool:
        """Whether `isa` is of the family that was measured: `armv8-a` speaks for `armv9-a`, not for `x86-64`."""
        return _kind(isa) == _kind(self.isa)

    @property
    def other_version(self) -> str | None:
        """The version of the runtime it was measured with, where that is of another major version than is modelled."""
        package, major = MODELLED.get(self.runtime, ("", 0))
        version = self.versions.get(package)
        return None if version is None or version.partition(".")[0] == str(major) else f"{package} {version}"

    def predict(self, layout: MemoryLayout) -> float:
        """Return the expected peak of the process over the idle runtime, in bytes."""
        return max(
            sum(self.coefficients[phase][part] * nbytes for part, nbytes in parts_of(layout, phase).items())
            for phase in PHASES
        )

    def interval(self, layout: MemoryLayout, isa: str) -> Interval:
        """Return the peak to expect on `isa`, the runtime itself included; wider where nobody measured there."""
        widening = ELSEWHERE_WIDENING ** ((not self.speaks_for(isa)) + (self.other_version is not None))
        peak = self.predict(layout)
        processes = layout.of_least_process, layout.of_largest_process
        least, most = [peak if process is layout else self.predict(process) for process in processes]
        low = least + (least + FLOOR_BYTES) * (self.low_ratio - 1) * widening
        high = most + (most + FLOOR_BYTES) * (self.high_ratio - 1) * widening
        low = max(low, 0.0)
        fixed = layout.runtime_bytes + (self.fixed_bytes if isa == CUDA == self.isa else 0)
        return Interval(floor(min(low, peak)) + fixed, round(peak) + fixed, ceil(max(high, peak)) + fixed)

    @cached_property
    def provenance(self) -> str:
        """What was measured where and when, and how far off it is, in one sentence."""
        count = self.unseen or self.models
        return (
            f"Calibrated by {self.id}: {self.models} models of {self.families} families on {self.measured_on}, "
            f"{self.measured_from[:10]} to {self.measured_to[:10]}, "
            f"{', '.join(f'{name} {version}' for name, version in self.versions.items())}; error on families left out: "
            f"median {self.held_out.median:.1%}, p95 {self.held_out.p95:.1%} (raw {self.held_out_raw.median:.1%}, "
            f"{self.held_out_raw.p95:.1%}); the interval is meant to hold {self.level:.0%} of new models, with at most "
            f"{ranks(count, self.level)[1]} in {count + 1} above it."
        )

    def caveats(self, isa: str) -> tuple[str, ...]:
        """Return the sentences that a report on a device with `isa` owes its reader about this fit."""
        said = [self.provenance]
        if self.isa == CUDA_TENSORS:
            said.append("Tensors were measured on a GPU, the process was not: the interval is twice as wide.")
        elif not self.speaks_for(isa):
            said.append(f"It was measured on {self.isa}, not on {isa}: the interval is twice as wide.")
        if self.other_version is not None:
            package, major = MODELLED[self.runtime]
            said.append(
                f"It was measured with {self.other_version}, and {package} {major} is modelled: the interval is twice "
                "as wide for that."
            )
        if self.note:
            said.append(self.note)
        return tuple(said)


def _kind(isa: str) -> str:
    return isa if isa in (CUDA, CUDA_TENSORS) else "x86" if isa.startswith("x86") else "another CPU"


def parts_of(layout: MemoryLayout, phase: str) -> dict[str, int]:
    """Return the parts of `phase` by name, in bytes; what is neither activation nor workspace counts as weights.

    `mapped` are the pages beyond the heap: those of a mapped file, and those that the allocator keeps.
    """
    if phase == "load":
        return {"heap": layout.load_heap_bytes, "mapped": layout.load_pages_bytes, "constant": 1}
    weights = layout.inference_heap_bytes - layout.activation_bytes - layout.workspace_bytes
    return {
        "weights": max(weights, 0),
        "activations": layout.activation_bytes,
        "workspace": layout.workspace_bytes,
        "mapped": layout.inference_pages_bytes,
        "constant": 1,
    }


def raw_coefficients() -> dict[str, dict[str, float]]:
    """Return the coefficients that leave an estimate as it is."""
    return {phase: {part: float(part != "constant") for part in PARTS[phase]} for phase in PHASES}
