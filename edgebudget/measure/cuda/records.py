"""What is measured on a GPU, as JSON lines: writing needs the standard library alone, reading checks `schema.json`."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from edgebudget.measure.interface import Subject
from edgebudget.measure.lines import records

SCHEMA_VERSION = 1
BACKEND = "cuda"


@dataclass(frozen=True, slots=True)
class CacheCount:
    """What PyTorch's caching allocator says: now, and its peaks since they were reset last.

    `requested_bytes` is what was asked for, `allocated_bytes` the blocks that were given for it (512 B and more),
    `reserved_bytes` the segments that they are cut from.
    """

    requested_bytes: int
    allocated_bytes: int
    reserved_bytes: int
    requested_peak_bytes: int
    allocated_peak_bytes: int
    reserved_peak_bytes: int


@dataclass(frozen=True, slots=True)
class CudaPhases:
    """One model, in order: nothing but the libraries' workspaces; the model on the GPU; its inputs too; the first run,
    which warms up; all later runs. The cache is emptied before the baseline alone."""

    baseline: CacheCount
    load: CacheCount
    inputs: CacheCount
    first_inference: CacheCount
    steady_inference: CacheCount


@dataclass(frozen=True, slots=True)
class Libraries:
    """What a process pays once, whatever the model, part by part: measured by a tiny product and convolution.

    `context_bytes` is what the GPU's used memory grew by when the context was made (None where nvidia-smi does not
    say); `*_code_bytes` what each library took past the caching allocator; `*_workspace_bytes` what it keeps from that
    allocator, `*_scratch_bytes` what it took there for the duration of one call. `host_*_bytes` are resident pages of
    the process: with torch imported, and with context and libraries ready.
    """

    context_bytes: int | None
    cublas_code_bytes: int
    cublas_workspace_bytes: int
    cublas_scratch_bytes: int
    cudnn_code_bytes: int
    cudnn_workspace_bytes: int
    cudnn_scratch_bytes: int
    host_import_bytes: int
    host_ready_bytes: int


@dataclass(frozen=True, slots=True)
class CudaProvenance:
    """Where a measurement comes from. `already_measured` is how many models the process had measured before: kernels
    that those loaded stay in `outside_bytes`."""

    measured_at: str
    gpu: str
    compute_capability: str
    total_bytes: int
    driver: str
    versions: Mapping[str, str]
    settings: Mapping[str, str]
    runs: int
    already_measured: int


@dataclass(frozen=True, slots=True)
class CudaMeasurement:
    """One model on one GPU in one dtype.

    `at_peak_bytes` are the requests that were held when a later run peaked, made within that run, largest first (None
    where the allocator's history could not be read); `outside_bytes` what the GPU had in use past the caching allocator
    after the last run.
    """

    subject: Subject
    parameter_numel: int
    phases: CudaPhases
    at_peak_bytes: tuple[int, ...] | None
    outside_bytes: int
    libraries: Libraries
    provenance: CudaProvenance

    @property
    def load_bytes(self) -> int:
        """Blocks held once the model is on the GPU, over the baseline."""
        return self.phases.load.allocated_bytes - self.phases.baseline.allocated_bytes

    @property
    def allocated_peak_bytes(self) -> int:
        """The most that blocks took in a run after the warm-up, weights and inputs included, over the baseline."""
        return self.phases.steady_inference.allocated_peak_bytes - self.phases.baseline.allocated_bytes

    @property
    def reserved_peak_bytes(self) -> int:
        """The most that segments took in a run after the warm-up, over the baseline."""
        return self.phases.steady_inference.reserved_peak_bytes - self.phases.baseline.reserved_bytes


def to_json_line(measurement: CudaMeasurement) -> str:
    """Return one line, without its end."""
    fields = asdict(measurement)
    record = {"schema_version": SCHEMA_VERSION, **fields.pop("subject"), **fields}
    return json.dumps(record, separators=(",", ":"))


def is_cuda(line: str) -> bool:
    """Whether a line of measurements is one of a GPU; what is no JSON object is not."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and record.get("backend") == BACKEND


def parse_line(line: str) -> CudaMeasurement:
    """Return the measurement in one line, which nothing but its shape is checked of.

    Raises ValueError, KeyError or TypeError for a line that is no measurement.
    """
    return _measurement(json.loads(line))


def _measurement(record: Mapping) -> CudaMeasurement:  # type: ignore[type-arg]
    at_peak = record["at_peak_bytes"]
    return CudaMeasurement(
        subject=Subject(record["model"], tuple(record["inputs"]), record["backend"], record["dtype"]),
        parameter_numel=record["parameter_numel"],
        phases=CudaPhases(**{name: CacheCount(**counts) for name, counts in record["phases"].items()}),
        at_peak_bytes=None if at_peak is None else tuple(at_peak),
        outside_bytes=record["outside_bytes"],
        libraries=Libraries(**record["libraries"]),
        provenance=CudaProvenance(**record["provenance"]),
    )


def parse_cuda(text: str, where: str) -> tuple[CudaMeasurement, ...]:
    """Return the measurements in `text`, one a line, empty lines left out.

    Raises CalibrationError, which starts with `where` and the line's number, for one that does not fit the schema.
    """
    return tuple(_measurement(record) for record in records(text, where, Path(__file__).parent / "schema.json"))
