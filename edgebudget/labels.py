"""The words under which reports show numbers, by their keys, in the order they are shown."""

from collections.abc import Mapping

LABELS: Mapping[str, str] = {
    "parameter_numel": "Parameters, elements",
    "parameter_bytes": "Parameters",
    "buffer_numel": "Buffers, elements",
    "buffer_bytes": "Buffers",
    "activation_peak_numel": "Activations alive at the peak, elements",
    "activation_lower_bound_bytes": "Activations, lower bound of any planner",
    "activation_bytes": "Activations, as this runtime holds them",
    "activation_total_bytes": "Activations, sum (for comparison only)",
    "workspace_bytes": "Workspace",
    "load_heap_bytes": "Heap at the load peak",
    "load_mapped_bytes": "Mapped file at the load peak",
    "inference_heap_bytes": "Heap at the inference peak",
    "inference_mapped_bytes": "Mapped file at the inference peak",
    "runtime_bytes": "Runtime itself",
    "load_peak_bytes": "Load peak = heap + mapped + runtime",
    "inference_peak_bytes": "Inference peak = heap + mapped + runtime",
    "raw_peak_bytes": "Peak as computed: the larger",
    "peak_bytes": "Peak after calibration",
    "peak_low_bytes": "Peak, low end",
    "peak_high_bytes": "Peak, high end",
    "budget_bytes": "RAM budget",
    "headroom_bytes": "Headroom = budget - high end",
    "storage_bytes": "Model file",
    "storage_budget_bytes": "Storage budget",
}
