"""What a measurement is, and what a backend does: a model becomes an artefact, a fresh process loads and runs it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median_low
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from edgebudget.measure.models import BuiltModel

SCHEMA_VERSION = 1
SCATTERED_WEIGHTS = "random, as if trained: no two tensors are equal, none is constant"  # `models.scatter_weights`


@dataclass(frozen=True, slots=True)
class HeapCount:
    """What an allocation counter saw: `live` now, `peak` since the last reset.

    `live_bytes` and `peak_bytes` sum `malloc_usable_size` over the blocks the program holds; `mapped_*` are anonymous
    pages that it mapped itself, past malloc. The two peaks need not fall on the same moment.
    """

    live_bytes: int
    peak_bytes: int
    live_blocks: int
    mapped_live_bytes: int
    mapped_peak_bytes: int


@dataclass(frozen=True, slots=True)
class ProcessCount:
    """What the system charges: `VmHWM` since its last reset, `RssAnon` and `RssFile` now."""

    peak_bytes: int
    anonymous_bytes: int
    file_bytes: int

    @property
    def resident_bytes(self) -> int:
        return self.anonymous_bytes + self.file_bytes


@dataclass(frozen=True, slots=True)
class Phase:
    """Both counts, read at the end of a phase; their peaks are over that phase alone."""

    heap: HeapCount
    process: ProcessCount


@dataclass(frozen=True, slots=True)
class Phases:
    """One process, in order: the runtime imported and the inputs made; the model loaded; one run; all later runs."""

    baseline: Phase
    load: Phase
    first_inference: Phase
    steady_inference: Phase


@dataclass(frozen=True, slots=True)
class AllocatorCount:
    """Peaks of PyTorch's CPU allocator over one forward, counted from nothing at its start: weights and inputs are
    not in them. `first` is the first forward of the process, the others come after a warm-up."""

    first_peak_bytes: int
    peak_bytes: int
    peak_without_onednn_bytes: int


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured. `inputs` are written `1x3x224x224:float32`."""

    model: str
    inputs: tuple[str, ...]
    backend: str
    dtype: str


@dataclass(frozen=True)
class Artefact:
    """What a model became: the file a worker loads (None: the worker builds the model itself), and what making it told.

    `planned_bytes` are the sizes of the buffers planned ahead of time, one a memory pool; `outside_ops` the operators
    that no delegate took, with their number.
    """

    path: Path | None = None
    nbytes: int | None = None
    export_seconds: float | None = None
    lowering_seconds: float | None = None
    planned_bytes: tuple[int, ...] | None = None
    delegate_count: int | None = None
    outside_ops: Mapping[str, int] | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProcessPeaks:
    """High-water marks of one process over what was resident before: while loading, and over all runs."""

    load_bytes: int
    inference_bytes: int


@dataclass(frozen=True)
class Observation:
    """What a worker printed, and the process peaks of further workers that did the same, each a fresh process.

    The heap is the same in all of them. Which holes malloc can use again is not: that depends on where the system put
    the process, and on what small blocks it has, down to the length of the model's path.
    """

    phases: Phases
    allocator: AllocatorCount | None = None
    repeats: tuple[ProcessPeaks, ...] = ()

    @property
    def process_peaks(self) -> tuple[ProcessPeaks, ...]:
        """The peaks of every process, the first worker's first."""
        phases = self.phases
        before_bytes = phases.baseline.process.resident_bytes
        runs_bytes = max(phases.first_inference.process.peak_bytes, phases.steady_inference.process.peak_bytes)
        return (ProcessPeaks(phases.load.process.peak_bytes - before_bytes, runs_bytes - before_bytes), *self.repeats)


@dataclass(frozen=True, slots=True)
class Board:
    """A board that was measured on: its core (`cortex-a72`, empty where unknown), the RAM that its kernel has, and what
    emulates it, None for real hardware."""

    core: str
    ram_bytes: int
    emulator: str | None


@dataclass(frozen=True)
class Provenance:
    """Where a measurement comes from. Two may be compared when all but `measured_at` is the same.

    `board` is None for the machine that measured.
    """

    measured_at: str
    versions: Mapping[str, str]
    isa: str
    cpu: str
    cpu_features: tuple[str, ...]
    kernel: str
    libc: str
    allocator_settings: Mapping[str, str]
    threads: int
    runs: int
    worker: str
    board: Board | None = None


@dataclass(frozen=True)
class Measurement:
    """One model on one backend in one dtype: absolute figures of one process; the properties are over its baseline."""

    subject: Subject
    parameter_numel: int
    artefact: Artefact
    observation: Observation
    provenance: Provenance

    @property
    def load_heap_bytes(self) -> int:
        """The heap's peak while loading, over what the process held before."""
        phases = self.observation.phases
        return phases.load.heap.peak_bytes - phases.baseline.heap.live_bytes

    @property
    def inference_heap_bytes(self) -> int:
        """The heap's peak over all runs, over what the process held before it loaded the model."""
        phases = self.observation.phases
        peak_bytes = max(phases.first_inference.heap.peak_bytes, phases.steady_inference.heap.peak_bytes)
        return peak_bytes - phases.baseline.heap.live_bytes

    @property
    def load_process_bytes(self) -> int:
        """The process's high-water mark while loading, over what was resident before: the median of its processes."""
        return median_low(peaks.load_bytes for peaks in self.observation.process_peaks)

    @property
    def inference_process_bytes(self) -> int:
        """The process's high-water mark over all runs, over what was resident before it loaded the model: the median
        of its processes."""
        return median_low(peaks.inference_bytes for peaks in self.observation.process_peaks)

    @property
    def process_peaks_bytes(self) -> tuple[int, ...]:
        """The high-water mark of each process, over what was resident before."""
        return tuple(max(peaks.load_bytes, peaks.inference_bytes) for peaks in self.observation.process_peaks)


@dataclass(frozen=True, slots=True)
class Failure:
    """What could not be measured, on which board, and why, in one sentence."""

    subject: Subject
    reason: str
    board: Board | None = None


@dataclass(frozen=True, slots=True)
class Programs:
    """What a worker is started with, where it runs. The runner is asked for only when it is needed: it is compiled."""

    python: str
    executorch_runner: Callable[[], str]


class Backend(Protocol):
    """One runtime that can be measured. Registered by its file's name."""

    @property
    def name(self) -> str: ...

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtype options it can make, the plain one first."""
        ...

    @property
    def packages(self) -> tuple[str, ...]:
        """The distributions whose versions a measurement depends on."""
        ...

    @property
    def runs_on(self) -> tuple[str, ...]:
        """The distributions that must be where the worker runs."""
        ...

    @property
    def worker(self) -> str:
        """What kind of process runs the model, for the provenance."""
        ...

    @property
    def runs(self) -> int:
        """How often the worker runs the model: at least twice, since the first run differs."""
        ...

    @property
    def processes(self) -> int:
        """How many processes one measurement takes: several where they differ, one elsewhere."""
        ...

    def require(self) -> None:
        """Raise MissingExtraError when a package it needs is not installed."""
        ...

    def prepare(self, built: "BuiltModel", dtype: str, folder: Path) -> Artefact:
        """Return the artefact for a model that is built for real, written below `folder`."""
        ...

    def command(self, subject: Subject, path: str, programs: Programs, threads: int, runs: int) -> Sequence[str]:
        """Return the command line of a worker that loads the artefact, runs it, and prints an observation as JSON.

        `path` is where the artefact lies for the worker.
        """
        ...
