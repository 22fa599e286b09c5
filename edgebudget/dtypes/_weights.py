"""Options that quantize weights ahead of time and leave activations in float32 between operators.

Which operators they take depends on what quantizes: torchao and ExecuTorch take linear layers, ONNX Runtime's
quantizers others; a runtime that differs says so in its own assignment.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass

from edgebudget.dtypes._floating import hold_as
from edgebudget.dtypes._static import SCALE_NBYTES, ZERO_POINT_NBYTES
from edgebudget.dtypes.interface import Assignment, Held
from edgebudget.graph import FLOATING, Op, TracedGraph


@dataclass(frozen=True, slots=True)
class WeightOption:
    """Weights of linear layers in `bits` bits an element, with a float32 scale and an int8 zero point for each group of
    `group_numel` elements of a row (None: for each row, whatever its length)."""

    name: str
    element_dtype: str
    description: str
    bits: int
    group_numel: int | None = None

    @property
    def element_dtypes(self) -> tuple[str, ...]:
        return (self.element_dtype,)

    def assign(self, graph: TracedGraph) -> Assignment:
        """Return `graph` with the weights of linear layers quantized and all else in float32."""
        return self.assign_part(graph, range(len(graph.ops)))

    def assign_part(self, graph: TracedGraph, operators: Container[int]) -> Assignment:
        """Return `graph` with only the linear layers among `operators` quantized."""
        return assign_weights(self.name, graph, operators, self.bits, self.group_numel)

    def by_operator(self, graph: TracedGraph) -> tuple[str, ...]:
        """Return this option's name for every operator."""
        return (self.name,) * len(graph.ops)


def assign_weights(
    option: str, graph: TracedGraph, operators: Container[int], bits: int, group_numel: int | None
) -> Assignment:
    """Return `graph` in float32, but for weights of the linear layers among `operators` (indices).

    A weight that another operator reads too, such as an embedding table tied to the last layer, is held twice: as it
    was for the other one.
    """
    layers = linear_weights(graph)
    weights: dict[int, tuple[int, Held]] = {}
    for op in graph.ops:
        if op.name == "linear" and op.index in operators and takes_groups(graph, op, layers, group_numel):
            rows, columns = graph.tensors[op.inputs[1]].shape
            groups = rows * (1 if group_numel is None else -(-columns // group_numel))
            nbytes = -(-rows * columns * bits // 8)
            weights[op.index] = (1, Held(f"int{bits}", nbytes, groups * (SCALE_NBYTES + ZERO_POINT_NBYTES)))
    floating = Assignment.of(option, [hold_as(s.dtype, s.nbytes, "float32") for s in graph.storages], frozenset())
    return with_weights(floating, graph, weights)


def with_weights(base: Assignment, graph: TracedGraph, weights: Mapping[int, tuple[int, Held]]) -> Assignment:
    """Return `base` with the input that stands at a position of an operator held otherwise: operator by index to
    position and form. What another operator reads too is held as it was besides."""
    held = list(base.held)
    elsewhere = {
        graph.tensors[t].storage
        for op in graph.ops
        for position, t in enumerate(op.inputs)
        if op.index not in weights or weights[op.index][0] != position
    }
    for index, (position, small) in weights.items():
        storage = graph.tensors[graph.ops[index].inputs[position]].storage
        was = base[storage]
        both = Held(was.dtype, was.nbytes + small.nbytes, small.quantization_nbytes)
        held[storage] = both if storage in elsewhere else small
    return Assignment.of(base.option, held, base.covered | weights.keys())


def linear_weights(graph: TracedGraph) -> frozenset[int]:
    """Return the storages of what `nn.Linear` modules hold as their weight; other modules call `linear` too."""
    return frozenset(
        storages[0]
        for name, storages in graph.parameters.items()
        if name.endswith("weight") and "Linear" in graph.modules.get(name.removesuffix("weight").removesuffix("."), "")
    )


def takes_groups(graph: TracedGraph, op: Op, layers: Container[int], group_numel: int | None) -> bool:
    """Return whether `op` reads a weight of `layers` whose rows `group_numel` divides."""
    weight = graph.tensors[op.inputs[1]]
    if weight.storage not in layers or weight.dtype not in FLOATING or len(weight.shape) != 2:
        return False
    return group_numel is None or weight.shape[1] % group_numel == 0
