"""Modules that eager PyTorch runs as one fused operator, where a trace shows their parts.

`nn.MultiheadAttention` and `nn.TransformerEncoderLayer` call `_native_multi_head_attention` and
`_transformer_encoder_layer_fwd` on the CPU in evaluation, when they attend to one batch-first tensor with an even
number of heads and without masks (torch/nn/modules/activation.py and transformer.py, `why_not_fast_path`). On meta the
condition on the device fails, so the trace has the parts. Sizes: attention.cpp and transformer.cpp in
ATen/native/transformers.
"""

from collections.abc import Iterator
from typing import NamedTuple

from edgebudget.dtypes.interface import Assignment
from edgebudget.graph import ITEMSIZE, Op, Ref, TracedGraph


class FusedModule(NamedTuple):
    """Operators `first` to `last` run as one, `peak_bytes` at most over what was alive before, outputs included."""

    first: int
    last: int
    peak_bytes: int


class _Attention(NamedTuple):
    input_bytes: int  # of the batch it attends to: batch x length x width
    scores_bytes: int
    averaged_bytes: int  # of the weights it returns; 0 where they are not asked for

    @property
    def peak_bytes(self) -> int:
        """Projections in one tensor, copied by head; scores; then heads joined and the output projection."""
        projected = 3 * self.input_bytes
        scores = projected + self.scores_bytes
        if not self.averaged_bytes:
            return max(2 * projected, scores, projected + 2 * self.input_bytes)
        return max(2 * projected, scores + self.input_bytes + max(self.input_bytes, self.averaged_bytes))


def fused_modules(graph: TracedGraph, held: Assignment) -> Iterator[FusedModule]:
    """Yield the modules of `graph` that run fused, in order and without overlap."""
    if _FUSIBLE.keys().isdisjoint(graph.modules.values()):
        return
    classes = {path: name for path, name in graph.modules.items() if name in _FUSIBLE}
    outermost = {module: _outermost(module, classes) for module in {op.module for op in graph.ops}}
    position = 0
    while position < len(graph.ops):
        path = outermost[graph.ops[position].module]
        last = position
        if path is not None:
            while last + 1 < len(graph.ops) and _is_within(graph.ops[last + 1].module, path):
                last += 1
            peak = _FUSIBLE[classes[path]](graph, held, graph.ops[position : last + 1])
            if peak is not None:
                yield FusedModule(position, last, peak)
                position = last
        position += 1


def _outermost(module: str, classes: dict[str, str]) -> str | None:
    """Return the path of the outermost fusible module that `module` is, or is in."""
    parts = module.split(".")
    prefixes = ("", *(".".join(parts[: i + 1]) for i in range(len(parts))))
    return next((prefix for prefix in prefixes if prefix in classes), None)


def _is_within(module: str, path: str) -> bool:
    return not path or module == path or module.startswith(path + ".")


def _attention(graph: TracedGraph, held: Assignment, ops: tuple[Op, ...]) -> _Attention | None:
    """Return the sizes of self-attention on one batch-first tensor; None for any other use of the module."""
    if len(ops) < 4 or ops[0].name != "transpose" or ops[1].name != "linear":
        return None
    x, weight = graph.tensors[ops[0].inputs[0]], graph.tensors[ops[1].inputs[1]]
    masked = any(op.name in ("baddbmm", "masked_fill") or _has_mask(op) for op in ops)
    heads_view = next((op for op in ops if op.name == "view"), None)
    if masked or heads_view is None or len(x.shape) != 3 or weight.shape[0] != 3 * weight.shape[1]:
        return None
    batch, length, width = x.shape
    head = graph.tensors[heads_view.outputs[0]].shape[-1]
    if (width // head) % 2:
        return None
    itemsize = ITEMSIZE[held.dtypes[x.storage]]
    averaged = batch * length * length * itemsize
    keeps_scores = any(op.name == "softmax" for op in ops)
    return _Attention(x.numel * itemsize, (width // head) * averaged, averaged if keeps_scores else 0)


def _has_mask(op: Op) -> bool:
    return op.name == "scaled_dot_product_attention" and isinstance(op.arg(3, "attn_mask"), Ref)


def _attention_peak(graph: TracedGraph, held: Assignment, ops: tuple[Op, ...]) -> int | None:
    attention = _attention(graph, held, ops)
    return attention.peak_bytes if attention is not None else None


def _encoder_layer_peak(graph: TracedGraph, held: Assignment, ops: tuple[Op, ...]) -> int | None:
    """Attention, then the feed-forward network, each with its normalised input beside it."""
    start = next((i for i, op in enumerate(ops) if op.name == "transpose"), None)
    hidden = [graph.tensors[op.outputs[0]] for op in ops if op.name in ("relu", "gelu")]
    attention = _attention(graph, held, ops[start:]) if start is not None else None
    if attention is None or not hidden:
        return None
    x, first = attention.input_bytes, hidden[0]
    feed_forward = first.numel * ITEMSIZE[held.dtypes[first.storage]]
    rows = 2 * x // graph.tensors[ops[0].inputs[0]].shape[-1]
    if any(op.name == "layer_norm" for op in ops[:start]):  # normalises first
        return max(x + attention.peak_bytes, 2 * x + rows, 3 * x + feed_forward)
    return max(attention.peak_bytes, 2 * x + feed_forward, 3 * x + rows)


_FUSIBLE = {"MultiheadAttention": _attention_peak, "TransformerEncoderLayer": _encoder_layer_peak}
