"""Which layers a table shows, in which order. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgebudget.inspection.layers import Inspection, Layer


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a model to show: layers down to `depth` (None: all), in the order `sort`, those with at least
    `min_share_percent` of the parameters or of the multiply-adds."""

    sort: str = "model"
    depth: int | None = None
    min_share_percent: float = 0.0


ORDERS: Mapping[str, Callable[[Layer], tuple[float | str, ...]]] = {
    "model": lambda layer: (),
    "parameters": lambda layer: (-layer.parameter_numel,),
    "bytes": lambda layer: (-max(layer.weight_bytes.values(), default=0),),
    "activations": lambda layer: (-max(layer.live_bytes.values(), default=0),),
    "multiply-adds": lambda layer: (-layer.multiply_adds,),
    "name": lambda layer: (layer.path,),
}


def select(inspection: Inspection, selection: Selection) -> list[Layer]:
    """Return the layers to show: in the model's own order each with what lies below it, else those that do not overlap.

    Sorted layers are modules without what lies below them, where they have parameters or work of their own, and those
    at `depth` with it: their numbers add up to the model's.
    """
    deepest, whole = selection.depth, inspection.whole
    if selection.sort == "model":
        shown = [layer for layer in inspection.layers if deepest is None or layer.depth <= deepest]
    else:
        shown = [
            layer if layer.depth == deepest else part
            for layer, part in zip(inspection.layers, inspection.parts, strict=True)
            if deepest is None or layer.depth <= deepest
        ]
        shown = [layer for layer in shown if layer.parameter_numel or layer.buffer_numel or layer.multiply_adds]
    kept = [layer for layer in shown if _weight(layer, whole) * 100 >= selection.min_share_percent]
    return sorted(kept, key=ORDERS[selection.sort])


def _weight(layer: Layer, whole: Layer) -> float:
    """Return the larger of the layer's shares of the parameters and of the multiply-adds."""
    work = layer.multiply_adds / whole.multiply_adds if whole.multiply_adds else 0.0
    return max(layer.share, work)
