"""The totals that torchinfo reports, by its rules, so that one can hold them against each other.

Read in torchinfo 1.8.0, model_statistics.py and layer_info.py. Its "forward/backward pass size" is twice the sum of
what layers with parameters return, and no peak; its multiply-adds are elements of parameters times positions of the
output, biases and normalizations included.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from edgebudget.graph import ITEMSIZE, TracedGraph

if TYPE_CHECKING:
    from edgebudget.tracing.calls import Call


@dataclass(frozen=True, slots=True)
class TorchinfoTotals:
    """What `torchinfo.summary` prints under its table; sizes in bytes, its MB being 10**6 of them."""

    parameter_numel: int
    trainable_numel: int
    multiply_adds: int
    input_bytes: int
    forward_backward_bytes: int
    parameter_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.input_bytes + self.forward_backward_bytes + self.parameter_bytes


def torchinfo_totals(graph: TracedGraph, calls: Sequence["Call"]) -> TorchinfoTotals:
    """Return torchinfo's totals of a model whose forward made `calls`."""
    tree = _Tree(graph, {call.path for call in calls})
    work = output = 0
    for call in calls:
        if not tree.is_leaf(call.path) or not call.outputs:
            continue
        own = tree.parameters(call.path)
        sizes = call.outputs[0].sizes
        work += sum(_multiply_adds(graph.modules[call.path], name, numel, sizes) for name, (numel, _) in own.items())
        if own:
            output += 2 * prod(sizes) * ITEMSIZE[call.outputs[0].dtype]
    inputs = [graph.tensors[t] for t in graph.inputs]
    leaves = [path for path in tree.listed if tree.is_leaf(path)]
    return TorchinfoTotals(
        parameter_numel=sum(max(tree.left_over(path)[0], 0) for path in tree.listed),
        trainable_numel=sum(max(tree.left_over(path)[1], 0) for path in tree.listed),
        multiply_adds=work,
        input_bytes=sum(spec.nbytes for spec in inputs),
        forward_backward_bytes=output,
        parameter_bytes=sum(tree.nbytes(path) for path in leaves),
    )


class _Tree:
    """The layers in torchinfo's table: those that were called, and the containers around them."""

    def __init__(self, graph: TracedGraph, called: set[str]) -> None:
        self.graph = graph
        around = {path[:i] for path in called for i, char in enumerate(path) if char == "."} | {""}
        self.listed = [path for path in graph.modules if path in called or path in around]
        self._parents = {path.rpartition(".")[0] for path in graph.modules if path}
        self._left: dict[str, tuple[int, int]] = {}

    def is_leaf(self, path: str) -> bool:
        return path not in self._parents

    def parameters(self, path: str) -> dict[str, tuple[int, bool]]:
        """Return the elements of each parameter at and below `path`, and whether it is trained, tied ones once."""
        below = f"{path}." if path else ""
        found: dict[tuple[int, ...], tuple[str, tuple[int, bool]]] = {}
        for name, ids in self.graph.parameters.items():
            if name.startswith(below) and ids not in found:
                storages = [self.graph.storages[s] for s in ids]
                held = (sum(s.numel for s in storages), any(s.trainable for s in storages))
                found[ids] = (name[len(below) :], held)
        return dict(found.values())

    def nbytes(self, path: str) -> int:
        below = f"{path}." if path else ""
        storages = {s for name, ids in self.graph.parameters.items() if name.startswith(below) for s in ids}
        return sum(self.graph.storages[s].nbytes for s in storages)

    def left_over(self, path: str) -> tuple[int, int]:
        """Return (all, trained) elements at `path` that no listed layer below it holds."""
        if path not in self._left:
            held = self.parameters(path).values()
            every, trained = sum(numel for numel, _ in held), sum(numel for numel, is_trained in held if is_trained)
            if not self.is_leaf(path):
                below = f"{path}." if path else ""
                for other in self.listed:
                    if other != path and other.startswith(below):
                        less, less_trained = self.left_over(other)
                        every, trained = every - less, trained - less_trained
            self._left[path] = every, trained
        return self._left[path]


def _multiply_adds(kind: str, name: str, numel: int, sizes: tuple[int, ...]) -> int:
    if name in ("weight", "bias"):
        if "Conv" in kind:
            return numel * prod(sizes[:1] + sizes[2:])
        return numel * (sizes[0] if sizes else 0)
    if "weight" in name or "bias" in name:  # weight_ih_l0 and its like
        return numel * prod(sizes[:2])
    return 0
