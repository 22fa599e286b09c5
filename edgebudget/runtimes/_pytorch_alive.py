"""What eager PyTorch holds at each operator: plain rows, since every dtype option sums over all storages again."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from edgebudget.graph import ITEMSIZE, Storage, TracedGraph, once_per_graph
from edgebudget.runtimes.interface import LiveTensor


@dataclass(frozen=True, slots=True, eq=False)
class Lifetimes:
    """The ids of a graph's activations and weights, and when each activation is held.

    `held` has a row for each activation: its id, the first operator that it is held at, and the one after the last.
    """

    steps: int
    weights: tuple[int, ...]
    activations: tuple[int, ...]
    held: tuple[tuple[int, int, int], ...]

    def alive(self, nbytes: Sequence[int]) -> list[int]:
        """Return the bytes of activations alive at each of `steps` operators, where `nbytes` is by storage."""
        change = [0] * (self.steps + 1)
        for storage, first, after in self.held:
            size = nbytes[storage]
            change[first] += size
            change[after] -= size
        del change[-1]
        return list(accumulate(change))

    def numel_alive(self, graph: TracedGraph, step: int) -> int:
        """Return the elements of the activations of `graph` alive at the operator `step`."""
        storages = graph.storages
        alive = [storages[storage] for storage, first, after in self.held if first <= step < after]
        return sum([s[1] // ITEMSIZE[s[2]] for s in alive])


@once_per_graph
def lifetimes(graph: TracedGraph) -> Lifetimes:
    """Return who is held when; an activation is held at one operator at least where there are none."""
    steps = max(len(graph.ops), 1)
    held = []
    for storage, _, _, _, _, born, dies, _, _ in graph.activations:
        first = 0 if born < 0 else born if born < steps else steps
        after = dies + 1 if dies < steps else steps
        held.append((storage, first, after if after > first else first))
    weights = tuple([s[0] for s in graph.weights])
    return Lifetimes(steps, weights, tuple([row[0] for row in held]), tuple(held))


def live_tensors(activations: Iterable[Storage], steps: int, nbytes: Sequence[int]) -> Iterator[LiveTensor]:
    """Yield `activations` with those of the `steps` operators at which they are held first and last."""
    end = max(steps, 1) - 1
    return (LiveTensor(s.name, nbytes[s.id], max(s.born, 0), min(s.dies, end)) for s in activations)
