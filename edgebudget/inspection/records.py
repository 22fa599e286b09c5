"""A layer and a model's totals as records: the same keys, in the same order, in every format."""

from collections.abc import Mapping
from typing import TypeAlias

from edgebudget.inspection.layers import Inspection, Layer, trainable_mark

Value: TypeAlias = "int | float | str | None"

TOTALS: Mapping[str, str] = {
    "parameter_numel": "Parameters",
    "trainable_numel": "Trainable",
    "frozen_numel": "Frozen",
    "buffer_numel": "Buffers, elements",
    "multiply_adds": "Multiply-adds",
    "flops": "FLOPs",
    "sparsity": "Zeros among the parameters",
    "torchinfo_parameter_numel": "torchinfo: total params",
    "torchinfo_trainable_numel": "torchinfo: trainable params",
    "torchinfo_multiply_adds": "torchinfo: mult-adds",
    "torchinfo_input_bytes": "torchinfo: input size",
    "torchinfo_forward_backward_bytes": "torchinfo: forward/backward pass size",
    "torchinfo_parameter_bytes": "torchinfo: params size",
    "torchinfo_total_bytes": "torchinfo: estimated total size",
}
"""What the totals show, by key; weights and live activations under each dtype stand between (`total_labels`)."""


def layer_record(layer: Layer) -> dict[str, Value]:
    """Return what every format shows of a layer."""
    return {
        "layer": layer.path,
        "kind": layer.kind,
        "depth": layer.depth,
        "calls": layer.calls,
        "inputs": "; ".join(layer.inputs),
        "outputs": "; ".join(layer.outputs),
        "parameter_numel": layer.parameter_numel,
        "trainable_numel": layer.trainable_numel,
        "frozen_numel": layer.frozen_numel,
        "shared_numel": layer.shared_numel,
        "buffer_numel": layer.buffer_numel,
        "share": layer.share,
        **{f"weight_{dtype}_bytes": nbytes for dtype, nbytes in layer.weight_bytes.items()},
        **{f"live_activation_{dtype}_bytes": nbytes for dtype, nbytes in layer.live_bytes.items()},
        "multiply_adds": layer.multiply_adds,
        "flops": layer.flops,
        "sparsity": layer.sparsity,
        "marks": marks(layer),
    }


def marks(layer: Layer) -> str:
    """Return what is odd about the layer: `frozen, shared, called 2 times`."""
    said = [trainable_mark(layer)] if layer.frozen_numel else []
    if layer.shared_numel:
        said.append("shared")
    if layer.calls > 1:
        said.append(f"called {layer.calls} times")
    if not layer.calls and not any(layer.live_bytes.values()):  # a container is not called, what it holds is
        said.append("not called")
    return ", ".join(said)


def total_record(inspection: Inspection) -> dict[str, Value]:
    """Return a model's totals by the keys of `total_labels`."""
    whole, torchinfo = inspection.whole, inspection.torchinfo
    return {
        "parameter_numel": whole.parameter_numel,
        "trainable_numel": whole.trainable_numel,
        "frozen_numel": whole.frozen_numel,
        "buffer_numel": whole.buffer_numel,
        **{f"weight_{dtype}_bytes": nbytes for dtype, nbytes in whole.weight_bytes.items()},
        **{f"live_activation_{dtype}_bytes": nbytes for dtype, nbytes in whole.live_bytes.items()},
        "multiply_adds": whole.multiply_adds,
        "flops": whole.flops,
        "sparsity": whole.sparsity,
        "torchinfo_parameter_numel": torchinfo.parameter_numel,
        "torchinfo_trainable_numel": torchinfo.trainable_numel,
        "torchinfo_multiply_adds": torchinfo.multiply_adds,
        "torchinfo_input_bytes": torchinfo.input_bytes,
        "torchinfo_forward_backward_bytes": torchinfo.forward_backward_bytes,
        "torchinfo_parameter_bytes": torchinfo.parameter_bytes,
        "torchinfo_total_bytes": torchinfo.total_bytes,
    }


def total_labels(inspection: Inspection) -> dict[str, str]:
    """Return the words for the keys of `total_record`, in its order."""
    labels: dict[str, str] = {}
    for key in total_record(inspection):
        if key in TOTALS:
            labels[key] = TOTALS[key]
        elif key.startswith("weight_"):
            labels[key] = f"Weights and buffers, {key.removeprefix('weight_').removesuffix('_bytes')}"
        else:
            dtype = key.removeprefix("live_activation_").removesuffix("_bytes")
            labels[key] = f"Activations at the peak, {dtype}"
    return labels


def said(key: str, value: Value) -> str:
    """Return a value as people read it: digits in groups, shares in percent, empty for what is not known."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.2%}"
    return f"{value:,}" if isinstance(value, int) else value


def layer_name(layer: Layer) -> str:
    return layer.path or "(the model)"
