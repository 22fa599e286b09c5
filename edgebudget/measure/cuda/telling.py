"""What a person is told of each model as it is measured."""

from edgebudget.measure.cuda.campaign import Result
from edgebudget.measure.cuda.records import CudaMeasurement
from edgebudget.units import format_bytes


def told(result: Result) -> str:
    """Return one line about one result."""
    subject = result.subject
    what = f"{subject.model} {' '.join(subject.inputs)} {subject.dtype}"
    if not isinstance(result, CudaMeasurement):
        return f"{what}: not measured. {result.reason}"
    return (
        f"{what}: {format_bytes(result.load_bytes)} loaded, {format_bytes(result.allocated_peak_bytes)} allocated and "
        f"{format_bytes(result.reserved_peak_bytes)} reserved at the peak"
    )
