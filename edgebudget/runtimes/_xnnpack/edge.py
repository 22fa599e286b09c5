"""The edge dialect, as far as sizes go: operators over values, and a graph of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Literal

from edgebudget.graph import FLOATING, ITEMSIZE, Arg, Ref, TracedGraph
from edgebudget.runtimes._functional import Functional, Node

Shape = tuple[int, ...]
Weights = Literal["float", "qc8w", "qb4w"]
"""How the weights of an operator are held that reads floating-point values: by output channel, by groups of a row."""


class EdgeOp:
    """One operator: `target` is the edge dialect's name without overload, `params` what sizes depend on."""

    __slots__ = ("delegate", "index", "inputs", "module", "outputs", "params", "target")

    def __init__(self, target: str, inputs: list[int], outputs: list[int], params: tuple[int, ...], node: Node) -> None:
        self.target = target
        self.inputs = inputs
        self.outputs = outputs
        self.params = params
        self.module = node.op.module
        self.index = node.op.index  # of the operator in the trace that it comes from
        self.delegate = -1  # set by `partition`


@dataclass
class EdgeGraph:
    """Operators over values; `constant[v]` where the value is a weight. Built by `lower`, then only read.

    What an option changes stands in `dtypes`, `element_bytes`, and what is quantized: see `hold_values`.
    """

    shapes: list[Shape]
    dtypes: list[str]
    constant: list[bool]
    traced: int  # so many values are the trace's
    ops: list[EdgeOp] = field(default_factory=list)
    inputs: tuple[int, ...] = ()
    outputs: list[int] = field(default_factory=list)
    unmodelled: set[str] = field(default_factory=set)
    casts: bool = False  # whether a portable operator makes whole numbers in the model's code floating-point
    without_rule: set[str] = field(default_factory=set)  # operators of ATen that portable kernels have to be there for
    alias: dict[int, int] = field(default_factory=dict)
    kept: frozenset[int] = frozenset()  # `outputs`
    readers: dict[int, list[EdgeOp]] = field(default_factory=dict)
    int8: frozenset[int] = frozenset()  # values that are held quantized
    quantized: frozenset[int] = frozenset()  # operators of the trace, by index, that read them
    weights: Mapping[int, Weights] = field(default_factory=dict)  # of operators of the trace that are not float
    element_bytes: int = 4  # of a floating-point value

    def add(self, shape: Shape, dtype: str) -> int:
        self.shapes.append(shape)
        self.dtypes.append(dtype)
        self.constant.append(False)
        return len(self.shapes) - 1

    def numel(self, value: int) -> int:
        return prod(self.shapes[value])

    def nbytes(self, value: int) -> int:
        return prod(self.shapes[value]) * ITEMSIZE[self.dtypes[value]]


class Lowering:
    """A functional graph on its way to the edge dialect: rules emit operators and make values here."""

    def __init__(self, graph: TracedGraph, functional: Functional) -> None:
        values = functional.values
        weights = {s.id for s in graph.storages if s.role.is_weight}
        made = {v for node in functional.nodes for v in node.outputs}  # a view of a weight is no constant any more
        self.g = EdgeGraph(
            [v.shape for v in values],
            ["float32" if v.dtype in FLOATING else v.dtype for v in values],
            [v.storage in weights and v.id not in made for v in values],
            len(values),
        )
        self.mutated = functional.mutated
        self._storages = [v.storage for v in values]
        self._shared: dict[int, int] = {}
        self.g.inputs = graph.inputs

    def at(self, value: int) -> int:
        return self.g.alias.get(value, value)

    def ref(self, arg: Arg) -> int:
        """Return the value `arg` names, -1 where it names none."""
        return self.at(arg) if isinstance(arg, Ref) else -1

    def emit(self, node: Node, target: str, inputs: list[int], output: int, params: tuple[int, ...] = ()) -> int:
        self.g.ops.append(EdgeOp(target, [i for i in inputs if i >= 0], [output], params, node))
        return output

    def step(self, node: Node, target: str, inputs: list[int], shape: Shape, params: tuple[int, ...] = ()) -> int:
        """Emit an operator that makes a value the trace does not know."""
        dtype = next((self.g.dtypes[i] for i in inputs if i >= 0), "float32")
        return self.emit(node, target, inputs, self.g.add(shape, dtype), params)

    def portable(self, node: Node) -> None:
        self.g.ops.append(EdgeOp(node.name, [self.at(i) for i in node.inputs], list(node.outputs), (), node))

    def new(self, shape: Shape, dtype: str, constant: bool) -> int:
        """Return a value that the trace does not know, with memory of its own."""
        value = self.g.add(shape, "float32" if dtype in FLOATING else dtype)
        self.g.constant[value] = constant
        return value

    def share_storage(self, value: int, base: int) -> None:
        """Note that `value`, which the trace does not know, is over the memory of `base`."""
        self._shared[value] = self._storage(base)

    def same_storage(self, node: Node) -> bool:
        return self._storage(node.inputs[0]) == self._storage(node.outputs[0])

    def _storage(self, value: int) -> int:
        """Return the storage of a value; one that the trace does not know has its own number, below 0."""
        return self._storages[value] if value < self.g.traced else self._shared.get(value, ~value)
