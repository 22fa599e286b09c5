"""Options that quantize weights ahead of time and leave activations in float32 between operators.

Which operators they take depends on what quantizes: torchao and ExecuTorch take linear layers, ONNX Runtime's
quantizers others; a runtime that differs says so in its own assignment.
"""

from collections.abc import Container
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
    held = [hold_as(s.dtype, s.nbytes, "float32") for s in graph.storages]
    layers = linear_weights(graph)
    covered = {
        op.index
        for op in graph.ops
        if op.name == "linear" and op.index in operators and takes_groups(graph, op, layers, group_numel)
    }
    quantized = {graph.tensors[graph.ops[index].inputs[1]] for index in covered}
    elsewhere = {
        graph.tensors[t].storage
        for op in graph.ops
        for position, t in enumerate(op.inputs)
        if not (op.index in covered and position == 1)
    }
    for weight in quantized:
        rows, columns = weight.shape
        groups = rows * (1 if group_numel is None else -(-columns // group_numel))
        small = Held(f"int{bits}", -(-weight.numel * bits // 8), groups * (SCALE_NBYTES + ZERO_POINT_NBYTES))
        was = held[weight.storage]
        both = Held(was.dtype, was.nbytes + small.nbytes, small.quantization_nbytes)
        held[weight.storage] = both if weight.storage in elsewhere else small
    return Assignment.of(option, held, frozenset(covered))


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
