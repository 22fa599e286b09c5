"""What a computed peak is made of."""

from edgebudget.labels import LABELS
from edgebudget.verdict import CheckResult


def peak_parts(result: CheckResult) -> list[tuple[str, int]]:
    """Return what the computed peak is made of, as (word, bytes) in its order; the bytes sum to `raw_peak_bytes`.

    At inference the heap is split into activations, workspace and the rest, which is the weights as the runtime holds
    them; at loading its split is the runtime's own affair. Empty where the option has no numbers.
    """
    if result.raw_peak_bytes is None:
        return []
    values = {key: getattr(result, key) or 0 for key in LABELS}
    if values["load_peak_bytes"] > values["inference_peak_bytes"]:
        heap = [("weights and copies while loading", values["load_heap_bytes"])]
        mapped_bytes = values["load_mapped_bytes"]
    else:
        activation_bytes = min(values["activation_bytes"], values["inference_heap_bytes"])
        workspace_bytes = min(values["workspace_bytes"], values["inference_heap_bytes"] - activation_bytes)
        weight_bytes = values["inference_heap_bytes"] - activation_bytes - workspace_bytes
        heap = [("weights", weight_bytes), ("activations", activation_bytes), ("workspace", workspace_bytes)]
        mapped_bytes = values["inference_mapped_bytes"]
    return [*heap, ("mapped file", mapped_bytes), ("runtime", values["runtime_bytes"])]
