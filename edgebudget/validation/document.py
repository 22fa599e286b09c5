"""The validation report: the tables, and what stands behind them."""

from collections.abc import Sequence

from edgebudget.measure.interface import Measurement
from edgebudget.validation.calibrated import Judged, pool, summarize_verdicts
from edgebudget.validation.compare import Comparison
from edgebudget.validation.table import baseline_table, error_table, model_table, pooled_table, verdict_table

LEFT_OUT = "by fits to all recorded measurements but those of the model's own family"


def document(
    measurements: Sequence[Measurement],
    comparisons: Sequence[Comparison],
    judged: Sequence[Judged],
    by: str,
    *,
    with_models: bool = False,
) -> str:
    """Return the report as Markdown, the same for the same measurements and code.

    `by` says which fits gave the intervals of `judged`, in words that follow "calibration".
    """
    models = {m.subject.model for m in measurements}
    machines = sorted({f"{m.provenance.cpu}, {m.provenance.isa}" for m in measurements})
    versions = sorted({f"{k} {v}" for m in measurements for k, v in m.provenance.versions.items()})
    days = sorted(m.provenance.measured_at[:10] for m in measurements)
    parts = [
        "# Estimate against measurement\n",
        f"{len(measurements)} measurements of {len(models)} models on {'; '.join(machines)}"
        + (f", {days[0]} to {days[-1]}" if days else "")
        + f", with {', '.join(versions)}.\n",
        "Heap: bytes live at the peak, by an allocation counter. Process: `VmHWM`. Both over the idle process that has "
        "the runtime loaded; processes under 5 MB are left out. Error: (estimated - measured) / measured; median, p95 "
        "and worst of its size, bias its median with sign. These are raw estimates, without any calibration.\n",
        error_table(comparisons),
        "## The same heap by simpler methods\n",
        "torchinfo's estimated total size (in float32), weights and the sum of all activations, and weights and the "
        "most activations alive at once, against the heap at inference.\n",
        baseline_table(comparisons),
        "## Verdicts\n",
        f"The process's peak after calibration {by}, the interval a check would have given, and how often a budget "
        "would have been called enough that was not. Errors are of processes of 5 MB and more; left out are processes "
        "that bear no witness: quantized eager PyTorch, and whole numbers into a mapped program "
        "(`edgebudget.evidence.has_process`).\n",
        verdict_table(summarize_verdicts(judged)),
        "All together. One model stands in several rows above, on boards with nearly the same figures, so that the "
        "share is less certain than its binomial interval says.\n",
        pooled_table(pool(judged)),
    ]
    if with_models:
        parts += ["## Every model\n", model_table(comparisons)]
    return "\n".join(parts)
