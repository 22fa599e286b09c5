"""The graph that ONNX Runtime executes: values with shapes, nodes with kernels, an order of execution."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import prod

ABSENT = -1  # an optional input that is not given


@dataclass(slots=True)
class Value:
    """What flows along an edge: an initializer where `constant`, else what a node or the caller makes."""

    shape: tuple[int, ...]
    itemsize: int
    constant: bool = False

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.itemsize


@dataclass(slots=True)
class Window:
    """A convolution's or a pool's geometry, per spatial dimension; `pads` has begins, then ends."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pads: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    ceil_mode: bool = False
    count_include_pad: bool = False


@dataclass(slots=True)
class Node:
    """One kernel call. `index` is the position at which the node was made: ONNX Runtime orders siblings by it."""

    index: int
    kind: str
    inputs: list[int]
    outputs: list[int]
    op: int  # the traced operator it comes from
    blocked: bool = False  # a kernel of the `com.microsoft.nchwc` domain
    activation: str = ""
    mode: str = ""  # how a Resize interpolates
    window: Window | None = None
    axis: int = 0
    permutation: tuple[int, ...] = ()
    transposed_b: bool = False
    parameters: tuple[int, ...] = ()  # further initializers: scales and zero points of an integer kernel
    shares_scale: bool = False  # a QuantizeLinear with the scale of what its producer read
    scratch: tuple[int, ...] = ()  # bytes of temporary buffers, all alive while the kernel runs


@dataclass(slots=True)
class Graph:
    """A graph under construction; passes rewrite it in place. `fed` are the caller's inputs, `results` the outputs."""

    values: list[Value] = field(default_factory=list)
    nodes: dict[int, Node] = field(default_factory=dict)
    fed: list[int] = field(default_factory=list)
    results: list[int] = field(default_factory=list)
    made: int = 0

    def value(self, shape: Sequence[int], itemsize: int, *, constant: bool = False) -> int:
        """Add a value and return its id."""
        self.values.append(Value(tuple(shape), itemsize, constant))
        return len(self.values) - 1

    def add(self, kind: str, inputs: Iterable[int], outputs: Iterable[int], op: int) -> Node:
        """Add a node behind all others and return it."""
        node = Node(self.made, kind, list(inputs), list(outputs), op)
        self.nodes[node.index] = node
        self.made += 1
        return node

    def replace(self, old: Node, new_kind: str) -> Node:
        """Put a copy of `old` with another kernel behind all others, as an optimizer that makes a new node does."""
        node = Node(
            self.made, new_kind, list(old.inputs), list(old.outputs), old.op, old.blocked, old.activation, old.mode,
            old.window, old.axis, old.permutation, old.transposed_b, old.parameters, old.shares_scale, old.scratch,
        )  # fmt: skip
        self.nodes[node.index] = node
        self.made += 1
        del self.nodes[old.index]
        return node

    def remove(self, node: Node) -> None:
        del self.nodes[node.index]

    def producers(self) -> dict[int, Node]:
        """Return the node that makes each value."""
        return {v: node for node in self.nodes.values() for v in node.outputs}

    def consumers(self) -> dict[int, list[Node]]:
        """Return the nodes that read each value, one entry a use."""
        readers: dict[int, list[Node]] = {}
        for node in self.nodes.values():
            for v in node.inputs:
                if v != ABSENT:
                    readers.setdefault(v, []).append(node)
        return readers

    def initializers(self) -> tuple[int, ...]:
        """Return the initializers that nodes read, in order of first use."""
        read = (v for node in self.nodes.values() for v in (*node.inputs, *node.parameters))
        return tuple(dict.fromkeys(v for v in read if v != ABSENT and self.values[v].constant))

    @property
    def input_count(self) -> int:
        """How many inputs all nodes have."""
        return sum(len(node.inputs) for node in self.nodes.values())

    def prune(self) -> None:
        """Remove nodes that no result needs."""
        producers = self.producers()
        wanted = [producers[v] for v in self.results if v in producers]
        kept: set[int] = set()
        while wanted:
            node = wanted.pop()
            if node.index not in kept:
                kept.add(node.index)
                wanted.extend(producers[v] for v in node.inputs if v in producers)
        self.nodes = {index: node for index, node in self.nodes.items() if index in kept}

    def sort_breadth_first(self) -> None:
        """Number the nodes as `ONNXModel.topological_sort` of the quantizer writes them: as their inputs come in."""
        waiting = {index: sum(v != ABSENT for v in node.inputs) for index, node in self.nodes.items()}
        readers = self.consumers()
        ready = [v for v, value in enumerate(self.values) if value.constant] + self.fed
        order: list[Node] = []
        for v in ready:  # grows
            for node in readers.get(v, ()):
                waiting[node.index] -= 1
                if not waiting[node.index]:
                    order.append(node)
                    ready.extend(node.outputs)
        for index, node in enumerate(order, self.made):
            node.index = index
        self.made += len(order)
        self.nodes = {node.index: node for node in order}

    def ordered(self) -> list[Node]:
        """Return the nodes in the order of execution.

        `Graph::ReverseDFSFrom` with `NodeCompare` (core/graph/graph.cc, graph_viewer.cc): depth first from the leaves
        against the edges; of several inputs, the one made last is visited first.
        """
        producers = self.producers()
        consumed = {v for node in self.nodes.values() for v in node.inputs}
        leaves = [n for _, n in sorted(self.nodes.items()) if consumed.isdisjoint(n.outputs)]
        stack: list[tuple[Node, bool]] = [(node, False) for node in leaves]
        visited: set[int] = set()
        order: list[Node] = []
        while stack:
            node, leaving = stack.pop()
            if leaving:
                order.append(node)
                continue
            if node.index in visited:
                continue
            visited.add(node.index)
            stack.append((node, True))
            sources = {producers[v].index: producers[v] for v in node.inputs if v in producers}
            stack.extend((sources[i], False) for i in sorted(sources) if i not in visited)
        return order
