"""Measurements of a GPU as fits: of its segments for devices with one, of its tensors for eager PyTorch anywhere."""

from collections.abc import Callable, Iterable, Sequence

from edgebudget.calibration.fit import Origin, fit
from edgebudget.calibration.model import CUDA, CUDA_TENSORS, Fit
from edgebudget.calibration.pairs import Pair
from edgebudget.errors import CalibrationError, EdgeBudgetError
from edgebudget.evidence import family_of, footprint_of
from edgebudget.measure.cuda.records import CudaMeasurement
from edgebudget.runtimes.pytorch import CUDA_BUILD_BYTES

RUNTIME = "pytorch"
_PACKAGES = ("torch", "cuda", "cudnn")


def fixed_bytes(measurements: Sequence[CudaMeasurement]) -> int:
    """Return what a process on the GPU pays whatever the model, over what the runtime's own figure holds: context, the
    libraries' code and workspaces, and the host's pages. The most of any process that measured."""
    return max(
        (found.context_bytes or 0)
        + found.cublas_code_bytes
        + found.cublas_workspace_bytes
        + found.cudnn_code_bytes
        + found.cudnn_workspace_bytes
        + max(0, found.host_ready_bytes - CUDA_BUILD_BYTES)
        for found in {measurement.libraries for measurement in measurements}
    )


def fit_gpu(measurements: Iterable[CudaMeasurement], level: float, tell: Callable[[str], None]) -> tuple[Fit, ...]:
    """Return two fits for each dtype that `measurements` support; `tell` hears why one is left out."""
    groups: dict[str, list[tuple[CudaMeasurement, Pair, Pair]]] = {}
    for measurement in measurements:
        try:
            segments, tensors = pairs_of(measurement)
        except EdgeBudgetError as error:
            tell(f"{measurement.subject.model}: {error}")
            continue
        groups.setdefault(measurement.subject.dtype, []).append((measurement, segments, tensors))
    fits = []
    for dtype, members in sorted(groups.items()):
        try:
            measured = [member[0] for member in members]
            fits.append(fit([member[1] for member in members], origin_of(measured, dtype, CUDA), level))
            fits.append(fit([member[2] for member in members], origin_of(measured, dtype, CUDA_TENSORS), level))
        except CalibrationError as error:
            tell(f"{RUNTIME} {dtype} on the GPU is not fitted: {error}")
    return tuple(fits)


def pairs_of(measurement: CudaMeasurement) -> tuple[Pair, Pair]:
    """Return `measurement` beside its estimate, of the segments and of the tensors.

    Raises EdgeBudgetError where the model cannot be loaded or traced.
    """
    found = footprint_of(measurement)
    subject, phases = measurement.subject, measurement.phases
    family = family_of(subject.model)
    reserved = phases.load.reserved_peak_bytes - phases.baseline.reserved_bytes
    return (
        Pair(subject.model, family, found.segments, {"load": reserved, "inference": measurement.reserved_peak_bytes}),
        Pair(
            subject.model,
            family,
            found.blocks,
            {"load": measurement.load_bytes, "inference": measurement.allocated_peak_bytes},
        ),
    )


def origin_of(measurements: Sequence[CudaMeasurement], dtype: str, isa: str) -> Origin:
    """Return where `measurements` come from; raises CalibrationError where they mix GPUs, drivers or versions."""
    places = [measurement.provenance for measurement in measurements]
    for what in ("gpu", "driver", "versions", "settings"):
        if len({str(getattr(place, what)) for place in places}) > 1:
            raise CalibrationError(
                f"The measurements of {RUNTIME} {dtype} mix several {what}.", "Fit what was measured alike, each apart."
            )
    first = places[0]
    moments = sorted(place.measured_at for place in places)
    return Origin(
        runtime=RUNTIME,
        dtype=dtype,
        isa=isa,
        measured_on=f"{first.gpu}, driver {first.driver}",
        measured_from=moments[0],
        measured_to=moments[-1],
        versions={name: first.versions[name] for name in _PACKAGES if name in first.versions},
        fixed_bytes=fixed_bytes(measurements) if isa == CUDA else 0,
    )
