"""The recorded measurements, compared and judged."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from edgebudget.calibration.store import Calibrations
from edgebudget.errors import EdgeBudgetError
from edgebudget.evidence import (
    estimate_of,
    family_of,
    fixed_bytes,
    footprint_of,
    has_process,
    machine_of,
    torchinfo_bytes,
)
from edgebudget.measure.cuda.records import CudaMeasurement
from edgebudget.measure.interface import Measurement
from edgebudget.runtimes.interface import Unsupported
from edgebudget.validation.calibrated import Judged
from edgebudget.validation.compare import Comparison, compare, compare_on_gpu
from edgebudget.verdict import uncalibrated


def compared(measurements: Iterable[Measurement], part: str) -> Iterator[Comparison]:
    """Yield every figure of `measurements` beside its estimate; what cannot be estimated is left out."""
    for measurement in measurements:
        try:
            made = estimate_of(measurement)
        except EdgeBudgetError:
            continue
        model = measurement.subject.model
        yield from compare(measurement, made, family_of(model), part, torchinfo_bytes().get(model))


def compared_on_gpu(measurements: Iterable[CudaMeasurement]) -> Iterator[Comparison]:
    """Yield every figure of a GPU beside its estimate; what cannot be estimated is left out."""
    for measurement in measurements:
        try:
            found = footprint_of(measurement)
        except EdgeBudgetError:
            continue
        yield from compare_on_gpu(measurement, found, family_of(measurement.subject.model))


def judged(measurements: Iterable[Measurement], calibrations: Callable[[str], Calibrations]) -> Iterator[Judged]:
    """Yield the interval that a check gives for each measurement, the runtime's own cost left out on both sides.

    `calibrations` are the fits to judge a family by, such as those that have not seen it (`LeavingOut`).
    """
    for measurement in measurements:
        try:
            made = estimate_of(measurement)
        except EdgeBudgetError:
            continue
        if isinstance(made.layout, Unsupported) or not has_process(measurement):
            continue
        layout = replace(made.layout, runtime_bytes=0)
        peaks_bytes = measurement.process_peaks_bytes
        measured_bytes = max(measurement.load_process_bytes, measurement.inference_process_bytes)
        if measurement.observation.allocator is not None:  # it built its model, and loaded no file
            layout = replace(layout, load_heap_bytes=0)
            measured_bytes = measurement.inference_process_bytes
            peaks_bytes = (measured_bytes,)
        isa = measurement.provenance.isa
        fits = calibrations(family_of(measurement.subject.model))
        calibration = fits.find(made.runtime, made.dtype, isa)
        interval = calibration.interval(layout, isa) if calibration else uncalibrated(layout.resident_peak_bytes)
        fixed = fixed_bytes(measurement, made.layout)
        if measured_bytes <= fixed:
            continue
        yield Judged(
            measurement.subject.model,
            machine_of(measurement),
            made.runtime,
            made.dtype,
            min(peaks_bytes) - fixed,
            measured_bytes - fixed,
            max(peaks_bytes) - fixed,
            interval,
            layout.resident_peak_bytes,
        )
