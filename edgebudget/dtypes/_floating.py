"""The options that store every floating-point number in one type."""

from collections.abc import Container
from dataclasses import dataclass

from edgebudget.dtypes.interface import Assignment, Held
from edgebudget.graph import FLOATING, ITEMSIZE, TracedGraph, once_per_graph


@dataclass(frozen=True, slots=True)
class FloatingOption:
    """All floating-point tensors in `element_dtype`; integer, boolean and complex tensors keep their type."""

    name: str
    element_dtype: str
    description: str

    @property
    def element_dtypes(self) -> tuple[str, ...]:
        return (self.element_dtype,)

    def assign(self, graph: TracedGraph) -> Assignment:
        """Return every storage with its floating-point elements in this option's type; every operator is covered."""
        dtypes, nbytes = hold_all(graph, self.element_dtype)
        return Assignment(self.name, tuple(dtypes), tuple(nbytes), frozenset(range(len(graph.ops))))

    def assign_part(self, graph: TracedGraph, operators: Container[int]) -> Assignment:
        """Return what only `operators` touch in this option's type, and the rest in float32."""
        covered = frozenset(op.index for op in graph.ops if op.index in operators)
        kept = {
            graph.tensors[t].storage for op in graph.ops if op.index not in covered for t in (*op.inputs, *op.outputs)
        }
        kept.update(graph.tensors[t].storage for t in (*graph.inputs, *graph.outputs))
        held = [hold_as(s.dtype, s.nbytes, "float32" if s.id in kept else self.element_dtype) for s in graph.storages]
        return Assignment.of(self.name, held, covered)

    def by_operator(self, graph: TracedGraph) -> tuple[str, ...]:
        """Return this option's name for every operator."""
        return (self.name,) * len(graph.ops)


def hold_all(graph: TracedGraph, floating_dtype: str) -> tuple[list[str], list[int]]:
    """Return dtype and bytes of each storage of `graph` where floating-point numbers become `floating_dtype`."""
    dtypes, nbytes = _as_traced(graph)
    if graph.floating_dtypes <= {floating_dtype}:
        return dtypes.copy(), nbytes.copy()
    wide = {dtype: ITEMSIZE[dtype] for dtype in graph.floating_dtypes}
    narrow = ITEMSIZE[floating_dtype]
    scaled = [n // wide[d] * narrow if d in wide else n for d, n in zip(dtypes, nbytes, strict=True)]
    return [floating_dtype if d in wide else d for d in dtypes], scaled


@once_per_graph
def _as_traced(graph: TracedGraph) -> tuple[list[str], list[int]]:
    return [s[2] for s in graph.storages], [s[1] for s in graph.storages]


def hold_as(dtype: str, nbytes: int, floating_dtype: str) -> Held:
    """Return how `nbytes` of `dtype` are held where floating-point numbers become `floating_dtype`."""
    if dtype == floating_dtype or dtype not in FLOATING:
        return Held(dtype, nbytes)
    return Held(floating_dtype, nbytes // ITEMSIZE[dtype] * ITEMSIZE[floating_dtype])
