"""What eager PyTorch holds at each operator: rows of numbers, since every dtype option sums over all storages again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from edgebudget.graph import ITEMSIZE, TracedGraph, once_per_graph
from edgebudget.runtimes.interface import LiveTensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Lifetimes:
    """The ids of a graph's weights; of each activation its id, elements, first and last operator that it is held at."""

    steps: int
    weights: "Integers"
    activations: "Integers"
    first: "Integers"
    last: "Integers"
    numel: "Integers"

    def alive(self, nbytes: "Integers") -> "Integers":
        """Return the bytes of activations alive at each of `steps` operators, where `nbytes` is by storage."""
        import numpy as np

        sizes = nbytes[self.activations]  # bincount sums in float64: exact up to 2**53 bytes
        after = np.maximum(self.last + 1, self.first)
        change = np.bincount(self.first, sizes, self.steps + 1) - np.bincount(after, sizes, self.steps + 1)
        return change.cumsum()[: self.steps].astype(np.int64)

    def numel_alive(self, step: int) -> int:
        """Return the elements of the activations alive at the operator `step`."""
        return int(self.numel[(self.first <= step) & (step <= self.last)].sum())


@once_per_graph
def lifetimes(graph: TracedGraph) -> Lifetimes:
    """Return who is held when; an activation is held at one operator at least where there are none."""
    import numpy as np

    steps = max(len(graph.ops), 1)
    weights = np.array([s[0] for s in graph.weights], dtype=np.int64)
    numel = [s[1] // ITEMSIZE[s[2]] for s in graph.activations]
    rows = [[s[0] for s in graph.activations], numel, *[[s[at] for s in graph.activations] for at in (5, 6)]]
    ids, numels, born, dies = np.array(rows, dtype=np.int64)
    return Lifetimes(steps, weights, ids, np.clip(born, 0, steps), np.minimum(dies, steps - 1), numels)


def live_tensors(graph: TracedGraph, nbytes: Sequence[int]) -> Iterator[LiveTensor]:
    """Yield the activations of `graph`, with the operators at which they are held first and last."""
    end = max(len(graph.ops), 1) - 1
    return (LiveTensor(s.name, nbytes[s.id], max(s.born, 0), min(s.dies, end)) for s in graph.activations)
