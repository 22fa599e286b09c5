"""A traced graph without in-place writes: every operator makes new values, and who reads what is explicit.

Values are tensor ids of the trace: an in-place operator gives its result an id of its own, so only the readers that
come later and still name the old id have to be pointed at the new one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from edgebudget.graph import Arg, Op, Ref, TensorSpec, TracedGraph, once_per_graph


class Node(NamedTuple):
    """One operator: `name` is functional (`relu`, also for `aten.relu_`), `args` and `inputs` name current values."""

    name: str
    op: Op
    args: tuple[Arg, ...]
    kwargs: tuple[tuple[str, Arg], ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def arg(self, position: int, name: str, default: Arg = None) -> Arg:
        """Return the argument at `position` or by `name`, else `default`."""
        if position < len(self.args):
            return self.args[position]
        for key, value in self.kwargs:
            if key == name:
                return value
        return default


@dataclass(frozen=True, slots=True)
class Functional:
    """`nodes` in order over `values` (the trace's tensors, then what writes through views add), and the outputs."""

    nodes: tuple[Node, ...]
    values: tuple[TensorSpec, ...]
    outputs: tuple[int, ...]
    mutated: frozenset[int] = frozenset()  # values that an in-place operator made


@once_per_graph
def functionalize(graph: TracedGraph) -> Functional:
    """Return `graph` with in-place operators as functional ones. Pure.

    A write through a view (`x[:, 0] = y`) is followed by a node `view_scatter`, which takes the base and what was
    written and gives a new base; one through an alias (`x[:] += y`) by an alias back and an alias again: what a
    functionalising exporter makes of them.
    """
    values = list(graph.tensors)
    first: dict[int, int] = {}
    for tensor in values:
        first.setdefault(tensor.storage, tensor.id)
    current: dict[int, int] = {}
    mutated: set[int] = set()
    aliases: set[int] = set()  # tensors that are all of another one
    nodes: list[Node] = []
    for op in graph.ops:
        args, kwargs, inputs = op.args, op.kwargs, op.inputs
        if current and not current.keys().isdisjoint(inputs):
            args = tuple([renumbered(arg, current) for arg in args])
            kwargs = tuple([(key, renumbered(arg, current)) for key, arg in kwargs])
            inputs = tuple([current.get(t, t) for t in inputs])
        name = op.name
        in_place = name.endswith("_") and not name.endswith("__") and bool(op.inputs) and bool(op.outputs)
        nodes.append(Node(name[:-1] if in_place else name, op, args, kwargs, inputs, op.outputs))
        if not in_place:
            if name == "alias":
                aliases.add(op.outputs[0])
            continue
        written, result = op.inputs[0], op.outputs[0]
        _rebind(current, written, result)
        mutated.add(result)
        base = first[values[written].storage]
        if values[base].shape != values[written].shape:
            held = current.get(base, base)
            whole = _copy_of(values, base)
            nodes.append(Node("view_scatter", op, (Ref(held), Ref(result)), (), (held, result), (whole,)))
            _rebind(current, base, whole)
        elif written in aliases:
            whole, again = _copy_of(values, base), _copy_of(values, result)
            nodes.append(Node("alias", op, (Ref(result),), (), (result,), (whole,)))
            nodes.append(Node("alias", op, (Ref(whole),), (), (whole,), (again,)))
            _rebind(current, base, whole)
            _rebind(current, result, again)
    outputs = tuple([current.get(t, t) for t in graph.outputs])
    return Functional(_without_unread_writes(nodes, outputs), tuple(values), outputs, frozenset(mutated))


def _copy_of(values: list[TensorSpec], value: int) -> int:
    """Add a value shaped like `value`, and return it."""
    spec = values[value]
    values.append(TensorSpec(len(values), spec.shape, spec.stride, spec.dtype, spec.storage, spec.offset))
    return len(values) - 1


def _without_unread_writes(nodes: list[Node], outputs: tuple[int, ...]) -> tuple[Node, ...]:
    """Return `nodes` without the scatters whose base nobody reads again."""
    if not any(node.name == "view_scatter" for node in nodes):
        return tuple(nodes)
    read = set(outputs)
    kept = []
    for node in reversed(nodes):
        if node.name == "view_scatter" and node.outputs[0] not in read:
            continue
        read.update(node.inputs)
        kept.append(node)
    return tuple(reversed(kept))


def _rebind(current: dict[int, int], old: int, new: int) -> None:
    """Make every later reader of `old`, or of what already stands for it, read `new`."""
    standing = current.get(old, old)
    if standing == new:
        return
    if standing != old:
        for key, value in current.items():
            if value == standing:
                current[key] = new
    current[old] = new


def renumbered(arg: Arg, numbers: Mapping[int, int]) -> Arg:
    """Return an argument with the values in it by their new numbers, where `numbers` has one for them."""
    if isinstance(arg, Ref):
        return Ref(numbers.get(arg, arg))
    if isinstance(arg, tuple):
        return tuple([renumbered(item, numbers) for item in arg])
    return arg
