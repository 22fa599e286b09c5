"""An estimate against a profile: a verdict in whole bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from edgebudget.runtimes.interface import PeakOp


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

    Sizes are None where the option is UNSUPPORTED or in ERROR: what was not estimated has no number.
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
