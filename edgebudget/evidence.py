"""Recorded measurements, and the estimate that the code of today gives for each: what is fitted and what is judged."""

import csv
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from edgebudget.dtypes import DTYPES
from edgebudget.errors import CalibrationError
from edgebudget.estimation import MemoryEstimate, estimate
from edgebudget.graph import FLOATING, TracedGraph
from edgebudget.inputs import parse_input
from edgebudget.measure.cuda.records import CudaMeasurement, is_cuda, parse_cuda
from edgebudget.measure.interface import Measurement
from edgebudget.measure.records import parse_measurements
from edgebudget.measure.suite import SUITE
from edgebudget.runtimes._pytorch_cuda import CudaFootprint, footprint
from edgebudget.runtimes.interface import MemoryLayout
from edgebudget.target import Target

DATA = Path(__file__).parent / "calibration" / "data"
TORCHINFO = DATA / "torchinfo.csv"

RUNTIME_OF = {"pytorch-cpu": "pytorch"}
"""Backends that measure a runtime of another name; the others are called alike."""


OVER_AN_IDLE_PROCESS = frozenset({"onnxruntime"})
"""Runtimes whose `runtime_bytes` are what they add to an idle process that has them loaded; those of the others hold
that process too."""


PYTORCH_FIRST_RUN_BYTES = 9_707_520
"""What the first small model adds to a process that has imported torch: part of that runtime's `runtime_bytes`, and of
what is measured. The import alone depends on the build, with CUDA or without, and is in neither. Measured as those."""


def fixed_bytes(measurement: Measurement, layout: MemoryLayout) -> int:
    """Return the part of `layout.runtime_bytes` that `measurement`, taken over an idle process, has in its figures.

    The idle process holds its inputs, which are the caller's and no part of the runtime.
    """
    if runtime_of(measurement.subject.backend) == "pytorch":
        return PYTORCH_FIRST_RUN_BYTES
    if runtime_of(measurement.subject.backend) in OVER_AN_IDLE_PROCESS:
        return layout.runtime_bytes
    inputs_bytes = sum(parse_input(text).nbytes for text in measurement.subject.inputs)
    idle_bytes = measurement.observation.phases.baseline.process.resident_bytes - inputs_bytes
    return max(0, layout.runtime_bytes - idle_bytes)


FROM_MAPPED_FILE = frozenset({"executorch", "executorch-xnnpack"})
"""Backends that read weights where the mapped file has them: what no run reads of a table is not in the process."""


def has_process(measurement: Measurement) -> bool:
    """Whether the process of `measurement` can be an interval's witness.

    That of quantized eager PyTorch cannot, since torchao was imported after the baseline, and its code outweighs the
    models. Nor can that of a mapped program that takes whole numbers: they were all 0, which reads one row of a table
    of embeddings, and an estimate is of a process that has seen inputs enough to have read every row.
    """
    subject = measurement.subject
    if subject.backend in FROM_MAPPED_FILE:
        return all(parse_input(text).dtype in FLOATING for text in subject.inputs)
    return measurement.observation.allocator is None or subject.dtype == "float32"


def runtime_of(backend: str) -> str:
    """Return the name of the runtime that a measuring backend speaks for."""
    return RUNTIME_OF.get(backend, backend)


def recorded_measurements(*parts: str) -> tuple[Measurement, ...]:
    """Return the measurements of parts of the suite that are committed with the package; raises CalibrationError."""
    paths = [path for part in parts for path in (DATA / f"{part}.jsonl", *sorted(DATA.glob(f"*/{part}.jsonl")))]
    return tuple(m for path in paths for m in parse_measurements(path.read_text("utf-8"), str(path)))


def read_measurements(paths: Iterable[Path]) -> tuple[Measurement, ...]:
    """Return the measurements in JSON-lines files; raises CalibrationError with the file and the line."""
    return tuple(found for path in paths for found in parse_measurements(_text(path), str(path)))


def read_gpu_measurements(paths: Iterable[Path]) -> tuple[CudaMeasurement, ...]:
    """Return the measurements of GPUs in JSON-lines files; raises CalibrationError with the file and the line."""
    return tuple(found for path in paths for found in parse_cuda(_text(path), str(path)))


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise CalibrationError(
            f"The measurements {path} cannot be read: {reason}.", "Give a file that 'edgebudget measure' wrote."
        ) from error


def recorded_gpu_measurements() -> tuple[CudaMeasurement, ...]:
    """Return the measurements of a GPU that are committed with the package, none where there are none."""
    path = DATA / "cuda.jsonl"
    return parse_cuda(path.read_text("utf-8"), str(path)) if path.is_file() else ()


def is_of_gpu(path: Path) -> bool:
    """Whether a file of measurements is one of a GPU, by its first line; one that cannot be read is not."""
    try:
        with path.open(encoding="utf-8") as file:
            return is_cuda(file.readline())
    except (OSError, UnicodeDecodeError):
        return False


def footprint_of(measurement: CudaMeasurement) -> CudaFootprint:
    """Return what the caching allocator is estimated to hold for what was measured; raises EdgeBudgetError."""
    subject = measurement.subject
    return footprint(traced(subject.model, subject.inputs), DTYPES.get(subject.dtype))


@cache
def torchinfo_bytes() -> dict[str, int]:
    """Return torchinfo's "Estimated Total Size" in float32 by model, as recorded by tests/record_torchinfo.py."""
    with TORCHINFO.open(encoding="utf-8", newline="") as file:
        return {row["model"]: int(row["total_bytes"]) for row in csv.DictReader(file)}


def machine_of(measurement: Measurement) -> str:
    """Return what a table calls the machine that was measured on: a board's core, else the instruction set."""
    board = measurement.provenance.board
    return board.core if board and board.core else measurement.provenance.isa


def family_of(model: str) -> str:
    """Return the family that the suite files `model` under; one that it does not hold is a family of its own."""
    return next((entry.family for entry in SUITE if entry.model == model), model)


def was_built_on(model: str) -> bool:
    """Whether the models of runtimes were developed with measurements of `model` at hand: the suite says of which."""
    return any(entry.model == model and entry.part == "build" for entry in SUITE)


def estimate_of(measurement: Measurement) -> MemoryEstimate:
    """Return the estimate for what was measured, on the machine it was measured on; raises EdgeBudgetError."""
    subject = measurement.subject
    runtime = runtime_of(subject.backend)
    board = measurement.provenance.board
    target = Target(isa=measurement.provenance.isa, cores=(board.core,) if board and board.core else ())
    return _estimated(subject.model, subject.inputs, subject.dtype, runtime, target)


@cache
def _estimated(model: str, inputs: tuple[str, ...], dtype: str, runtime: str, target: Target) -> MemoryEstimate:
    """Errors and verdicts are worked out from the same estimates: each is made once."""
    return estimate(traced(model, inputs), dtype=dtype, runtime=runtime, target=target)


@cache
def traced(model: str, inputs: tuple[str, ...]) -> TracedGraph:
    """Return the trace of a model with inputs as measurements name them, made once; raises EdgeBudgetError."""
    from edgebudget.sources import load_model
    from edgebudget.tracing import trace

    loaded = load_model(model, tuple(parse_input(text) for text in inputs))
    return trace(loaded.module, loaded.args, loaded.kwargs, name=loaded.name)
