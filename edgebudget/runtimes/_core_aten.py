"""The way from the runtimes to core ATen, which needs torch: it is imported when a runtime asks, not before."""

from edgebudget.errors import TraceError
from edgebudget.graph import TracedGraph


def to_core_aten(graph: TracedGraph, floating_dtype: str) -> TracedGraph:
    """Return `graph` as `torch.export` decomposes it, with its float32 numbers in `floating_dtype`.

    Raises TraceError where it cannot be decomposed, or not by this version of torch.
    """
    try:
        from edgebudget.tracing.core_aten import decompose
    except ImportError as missing:
        raise TraceError(
            f"This version of torch decomposes models in another way than torch 2.15 does: {missing}.",
            "Install torch 2.15, or estimate for a runtime that needs no decomposed graph.",
        ) from missing
    return decompose(graph, floating_dtype)
