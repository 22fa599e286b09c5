"""Static int8 quantization: weights by output channel, activations by tensor."""

from collections.abc import Container
from dataclasses import dataclass

from edgebudget.dtypes._static import Coverage, assign_static
from edgebudget.dtypes.interface import Assignment
from edgebudget.graph import TracedGraph


@dataclass(frozen=True, slots=True)
class _Int8:
    name: str = "int8"
    element_dtype: str = "int8"
    description: str = (
        "Weights of convolutions and linear layers take 1 byte an element and 5 bytes a channel, their biases 4 bytes; "
        "activations between covered operators take 1 byte; the rest stays float32."
    )

    @property
    def element_dtypes(self) -> tuple[str, ...]:
        return (self.element_dtype,)

    def assign(self, graph: TracedGraph) -> Assignment:
        """Return `graph` quantized as PyTorch 2 export with the XNNPACK quantizer does it."""
        return assign_static(self.name, graph, Coverage())

    def assign_part(self, graph: TracedGraph, operators: Container[int]) -> Assignment:
        """Return `graph` with only `operators` quantized."""
        return assign_static(self.name, graph, Coverage(), operators)

    def by_operator(self, graph: TracedGraph) -> tuple[str, ...]:
        """Return this option's name for every operator."""
        return (self.name,) * len(graph.ops)


OPTION = _Int8()
