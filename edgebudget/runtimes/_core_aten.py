"""The way from the runtimes to core ATen, which needs torch: it is imported when a runtime asks, not before."""

from collections.abc import Iterator
from contextlib import contextmanager

from edgebudget.errors import TraceError
from edgebudget.graph import TracedGraph


def to_core_aten(graph: TracedGraph, floating_dtype: str) -> TracedGraph:
    """Return `graph` as `torch.export` decomposes it, with its float32 numbers in `floating_dtype`.

    Raises TraceError where it cannot be decomposed, or not by this version of torch.
    """
    with _known_torch():
        from edgebudget.tracing.core_aten import decompose
    return decompose(graph, floating_dtype)


def becomes_the_same(graph: TracedGraph) -> bool:
    """Return whether `graph` becomes the same in another floating-point type, but for the type.

    Raises TraceError where this version of torch cannot decompose it.
    """
    with _known_torch():
        from edgebudget.tracing.core_aten import keeps_types
    return keeps_types(graph)


@contextmanager
def _known_torch() -> Iterator[None]:
    try:
        yield
    except ImportError as missing:
        raise TraceError(
            f"This version of torch decomposes models in another way than torch 2.15 does: {missing}.",
            "Install torch 2.15, or estimate for a runtime that needs no decomposed graph.",
        ) from missing
