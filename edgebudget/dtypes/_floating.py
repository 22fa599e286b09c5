"""The options that store every floating-point number in one type."""

from dataclasses import dataclass

from edgebudget.dtypes.interface import Assignment, Held
from edgebudget.graph import FLOATING, ITEMSIZE, TracedGraph

_AS_THEY_ARE = frozenset(ITEMSIZE) - FLOATING


@dataclass(frozen=True, slots=True)
class FloatingOption:
    """All floating-point tensors in `element_dtype`; integer, boolean and complex tensors keep their type."""

    name: str
    element_dtype: str
    description: str

    def assign(self, graph: TracedGraph) -> Assignment:
        """Return every storage with its floating-point elements in this option's type; every operator is covered."""
        return Assignment(self.name, tuple(hold_all(graph, self.element_dtype)), frozenset(range(len(graph.ops))))


def hold_all(graph: TracedGraph, floating_dtype: str) -> list[Held]:
    """Return how each storage of `graph` is held where floating-point numbers become `floating_dtype`."""
    new, as_they_are, itemsize = tuple.__new__, _AS_THEY_ARE | {floating_dtype}, ITEMSIZE[floating_dtype]
    return [
        new(Held, (s[2], s[1], 0))
        if s[2] in as_they_are
        else new(Held, (floating_dtype, s[1] // ITEMSIZE[s[2]] * itemsize, 0))
        for s in graph.storages  # by position, (id, nbytes, dtype, ...): there are hundreds
    ]


def hold_as(dtype: str, nbytes: int, floating_dtype: str) -> Held:
    """Return how `nbytes` of `dtype` are held where floating-point numbers become `floating_dtype`."""
    if dtype == floating_dtype or dtype not in FLOATING:
        return Held(dtype, nbytes)
    return Held(floating_dtype, nbytes // ITEMSIZE[dtype] * ITEMSIZE[floating_dtype])
