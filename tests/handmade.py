"""Reports made by hand, for what needs no model: reporters, exit codes, output."""

from dataclasses import replace
from pathlib import Path

from edgebudget.report import Report, ReportError, worst_decision
from edgebudget.runtimes.interface import PeakOp
from edgebudget.verdict import CheckResult, Decision

# Every integer is different, so that a number in the wrong place shows.
GO_RESULT = CheckResult(
    model="mobilenet_v2",
    device="raspberrypi",
    runtime="pytorch",
    dtype="float32",
    batch=1,
    inputs=("1x3x224x224:float32",),
    decision=Decision.GO,
    reasons=("Fits in RAM with 2,000,000,001 bytes (1.86 GiB) to spare.", "Not calibrated: the interval is wide."),
    recommended=True,
    parameter_numel=3_504_872,
    buffer_numel=34_164,
    activation_peak_numel=2_408_448,
    parameter_bytes=14_019_488,
    buffer_bytes=136_660,
    activation_lower_bound_bytes=9_633_792,
    activation_bytes=9_936_896,
    activation_total_bytes=106_857_792,
    workspace_bytes=1_048_577,
    runtime_bytes=5_000_003,
    load_heap_bytes=14_200_007,
    inference_heap_bytes=25_141_621,
    load_mapped_bytes=123_457,
    inference_mapped_bytes=654_321,
    load_peak_bytes=19_323_467,
    inference_peak_bytes=30_795_945,
    raw_peak_bytes=30_795_945,
    peak_bytes=30_795_946,
    peak_low_bytes=23_096_958,
    peak_high_bytes=38_494_932,
    calibration=None,
    budget_bytes=2_038_494_933,
    headroom_bytes=2_000_000_001,
    storage_bytes=14_300_009,
    storage_budget_bytes=16_000_000_019,
    peak_op=PeakOp(4, "conv2d", "features.1.conv.0"),
    unmodelled_ops=("aten.fft_rfft.default",),
)
SHORT_RESULT = replace(
    GO_RESULT,
    dtype="int8",
    decision=Decision.NO_GO,
    recommended=False,
    reasons=("Short of RAM by at least 1 byte.",),
    parameter_bytes=3_572_113,
    load_heap_bytes=35_000_017,
    load_peak_bytes=40_123_477,
    raw_peak_bytes=40_123_477,
    headroom_bytes=-123_456_789,
)
UNSUPPORTED_RESULT = CheckResult(
    model="mobilenet_v2",
    device="raspberrypi",
    runtime="pytorch",
    dtype="bfloat16",
    batch=1,
    inputs=("1x3x224x224:float32",),
    decision=Decision.UNSUPPORTED,
    reasons=("raspberrypi cannot compute in bfloat16.",),
    recommended=False,
    parameter_numel=3_504_872,
    buffer_numel=34_164,
    budget_bytes=2_038_494_933,
)
ERROR = ReportError("mobilenet_v22", None, "Unknown model 'mobilenet_v22'.", "Did you mean mobilenet_v2?")


def report(*results: CheckResult, errors: tuple[ReportError, ...] = ()) -> Report:
    """Return a report on `results` with the decision that they come to."""
    return Report("0.0.0", "2026-11-21T00:00:00+00:00", worst_decision(results, errors), results, errors)


def with_decision(decision: Decision, model: str = "m", dtype: str = "float32", device: str = "d") -> CheckResult:
    """Return an option that came to `decision`."""
    return replace(
        GO_RESULT, model=model, dtype=dtype, device=device, decision=decision, recommended=decision is Decision.GO
    )


REPORT = report(GO_RESULT, SHORT_RESULT, UNSUPPORTED_RESULT, errors=(ERROR,))
GOLD = Path(__file__).parent / "gold"
