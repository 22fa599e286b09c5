"""Numbers in a model's code that float16 does not hold: PyTorch and ExecuTorch refuse them when the operator runs.

Sums and products with such a number become infinite and run. What fills a tensor with it, pads with it or clamps to it
converts it first: `value cannot be converted to type c10::Half without overflow` says the one, `opt_val_casted` the
kernels of the other (kernels/portable/cpu/op_scalar_tensor.cpp, op_full_like.cpp, op_clamp.cpp, op_hardtanh.cpp).
"""

from edgebudget.graph import FLOATING, Op, TracedGraph, once_per_graph

HALF_MAX = 65504.0
_FLOAT32_MAX = (2 - 2**-23) * 2.0**127
"""What `torch.finfo(x.dtype).max` is in a trace, and would be 65,504 in float16."""

_CONVERTS = frozenset({"masked_fill", "full_like", "new_full", "fill", "clamp", "clamp_min", "clamp_max", "hardtanh",
                       "pad", "constant_pad_nd"})  # fmt: skip


@once_per_graph
def beyond_half(graph: TracedGraph) -> str | None:
    """Return why the model does not run in float16, by the first operator that is given a number beyond its range."""
    for op in graph.ops:
        number = _number_beyond(graph, op)
        if number is not None:
            where = f" in {op.module}" if op.module else ""
            return (
                f"In float16 the model does not run: {op.target}{where} is given {number:g}, and float16 ends at "
                f"{HALF_MAX:,.0f}. Take torch.finfo(x.dtype), or infinity."
            )
    return None


def _number_beyond(graph: TracedGraph, op: Op) -> float | None:
    if op.name.removesuffix("_") not in _CONVERTS or graph.tensors[op.outputs[0]].dtype not in FLOATING:
        return None
    numbers = [arg for arg in op.args if arg.__class__ in (int, float)]
    return next((n for n in numbers if HALF_MAX < abs(n) < _FLOAT32_MAX), None)
