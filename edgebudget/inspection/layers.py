"""A traced model as layers: what each holds, makes and costs. Pure."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgebudget.dtypes import DTYPES, assign
from edgebudget.graph import TracedGraph
from edgebudget.inspection.torchinfo import TorchinfoTotals, torchinfo_totals
from edgebudget.inspection.weights import WeightCount
from edgebudget.inspection.work import FLOPS_A_MULTIPLY_ADD, multiply_adds, not_counted
from edgebudget.planning import Buffer, live_bytes

if TYPE_CHECKING:
    from edgebudget.tracing.calls import Call


@dataclass(frozen=True)
class Layer:
    """One module, with or without those below it; `path` is "" for the model itself.

    Parameters and buffers are elements, what is tied within the layer once; `shared_numel` are those that another
    layer holds too. `weight_bytes` are parameters and buffers as stored under each dtype; `live_bytes` the most
    activation bytes alive while an operator of the layer runs, as eager PyTorch holds them. `zero_numel` is None
    without real weights. Shapes are those of the first of `calls`.
    """

    path: str
    kind: str
    depth: int
    is_leaf: bool
    calls: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameter_numel: int
    trainable_numel: int
    shared_numel: int
    buffer_numel: int
    weight_bytes: Mapping[str, int]
    live_bytes: Mapping[str, int]
    multiply_adds: int
    share: float
    zero_numel: int | None = None

    @property
    def frozen_numel(self) -> int:
        return self.parameter_numel - self.trainable_numel

    @property
    def flops(self) -> int:
        return FLOPS_A_MULTIPLY_ADD * self.multiply_adds

    @property
    def sparsity(self) -> float | None:
        """The share of parameters that are zero."""
        if self.zero_numel is None or not self.parameter_numel:
            return None
        return self.zero_numel / self.parameter_numel


@dataclass(frozen=True)
class Inspection:
    """A model's layers, parents before children and the model itself first; what torchinfo says; what to know.

    `layers` hold what lies below them, `parts` do not: theirs add up to the model.
    """

    model: str
    inputs: tuple[str, ...]
    dtypes: tuple[str, ...]
    layers: tuple[Layer, ...]
    parts: tuple[Layer, ...]
    torchinfo: TorchinfoTotals
    not_counted: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def whole(self) -> Layer:
        """The model itself: its totals."""
        return self.layers[0]


def inspect_graph(
    model: str,
    graph: TracedGraph,
    calls: Sequence["Call"],
    dtypes: Sequence[str],
    weights: Mapping[str, WeightCount] | None = None,
) -> Inspection:
    """Return the layers of `graph`, whose modules were called as `calls` says, with bytes under each of `dtypes`.

    `weights` are the elements and zeros of real parameters by name; names that the model lacks are passed over.
    """
    work = multiply_adds(graph)
    totals = torchinfo_totals(graph, calls)
    makers = _Makers(graph, calls, dtypes, work, weights)
    notes = [*_differences(graph, totals), *_matched(graph, weights)]
    if graph.truncation:
        notes.append(f"The trace stops at {graph.truncation.target}: layers behind it have no shapes and no work.")
    return Inspection(
        model=model,
        inputs=tuple(_text(graph, t) for t in graph.inputs),
        dtypes=tuple(dtypes),
        layers=tuple(makers.layer(path) for path in graph.modules),
        parts=tuple(makers.part(path) for path in graph.modules),
        torchinfo=totals,
        not_counted=not_counted(graph),
        notes=tuple(notes),
    )


class _Makers:
    """What layers are made from, gathered once."""

    def __init__(
        self,
        graph: TracedGraph,
        calls: Sequence["Call"],
        dtypes: Sequence[str],
        work: Sequence[int],
        weights: Mapping[str, WeightCount] | None,
    ) -> None:
        self.graph = graph
        self.work = work
        self.weights = weights
        self.calls: dict[str, list[Call]] = {}
        for call in calls:
            self.calls.setdefault(call.path, []).append(call)
        self.held = {dtype: assign(DTYPES.get(dtype), graph).total_nbytes for dtype in dtypes}
        steps = max(len(graph.ops), 1)
        self.curves = {
            dtype: live_bytes([Buffer(s.id, nbytes[s.id], s.born, s.dies) for s in graph.activations], steps)
            for dtype, nbytes in self.held.items()
        }
        self.holders = Counter(s for ids in graph.parameters.values() for s in ids)
        self.parents = {_parent(path) for path in graph.modules if path}

    def layer(self, path: str) -> Layer:
        """Return the module at `path` with everything below it."""
        below = f"{path}." if path else ""
        return self._made(path, lambda name: name.startswith(below), lambda at: at == path or at.startswith(below))

    def part(self, path: str) -> Layer:
        """Return the module at `path` without the modules below it."""
        return self._made(path, lambda name: _parent(name) == path, lambda at: at == path)

    def _made(self, path: str, holds: Callable[[str], bool], runs: Callable[[str], bool]) -> Layer:
        graph = self.graph
        parameters = {name: ids for name, ids in graph.parameters.items() if holds(name)}
        inside = Counter(s for ids in parameters.values() for s in ids)
        buffers = {s for name, ids in graph.buffers.items() if holds(name) for s in ids}
        ops = [op.index for op in graph.ops if runs(op.module)]
        calls = self.calls.get(path, [])
        held = [graph.storages[s] for s in inside]
        numel = sum(s.numel for s in held)
        return Layer(
            path=path,
            kind=graph.modules[path],
            depth=path.count(".") + 1 if path else 0,
            is_leaf=path not in self.parents,
            calls=len(calls),
            inputs=tuple(str(shape) for shape in calls[0].inputs) if calls else (),
            outputs=tuple(str(shape) for shape in calls[0].outputs) if calls else (),
            parameter_numel=numel,
            trainable_numel=sum(s.numel for s in held if s.trainable),
            shared_numel=sum(s.numel for s in held if self.holders[s.id] > inside[s.id]),
            buffer_numel=sum(graph.storages[s].numel for s in buffers),
            weight_bytes={d: sum(nbytes[s] for s in buffers.union(inside)) for d, nbytes in self.held.items()},
            live_bytes={d: max((curve[i] for i in ops), default=0) for d, curve in self.curves.items()},
            multiply_adds=sum(self.work[i] for i in ops),
            share=numel / graph.parameter_numel if graph.parameter_numel else 0.0,
            zero_numel=self._zeros(parameters),
        )

    def _zeros(self, parameters: Mapping[str, tuple[int, ...]]) -> int | None:
        if self.weights is None:
            return None
        zeros = {ids: self.weights[name].zero_numel for name, ids in parameters.items() if name in self.weights}
        return sum(zeros.values())  # by storage, so that tied ones count once


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _text(graph: TracedGraph, tensor: int) -> str:
    spec = graph.tensors[tensor]
    return f"{'x'.join(map(str, spec.shape)) or 'scalar'}:{spec.dtype}"


def _differences(graph: TracedGraph, totals: TorchinfoTotals) -> list[str]:
    """Return why torchinfo's number of parameters is another one, where it is."""
    more = totals.parameter_numel - graph.parameter_numel
    said = []
    if more > 0:
        said.append(
            f"torchinfo counts {totals.parameter_numel:,} parameters, {more:,} more: it counts tied parameters in "
            "every layer that holds them, here they count once."
        )
    if more < 0:
        said.append(
            f"torchinfo counts {totals.parameter_numel:,} parameters, {-more:,} fewer: it leaves out layers that the "
            "forward does not call."
        )
    if any(name.endswith("_orig") for name in graph.parameters):
        said.append(
            "The model is pruned: torchinfo counts the ones of its masks, here every element that is stored counts."
        )
    return said


def _matched(graph: TracedGraph, weights: Mapping[str, WeightCount] | None) -> list[str]:
    if weights is None:
        return []
    missing = [name for name in graph.parameters if name not in weights]
    if not missing:
        return []
    return [f"{len(missing)} parameters are not in the weights and count as not zero, the first is {missing[0]}."]


def trainable_mark(layer: Layer) -> str:
    """Return what people call the layer's parameters: trainable, frozen, or both."""
    if not layer.parameter_numel:
        return ""
    if not layer.frozen_numel:
        return "trainable"
    return "partly frozen" if layer.trainable_numel else "frozen"
