"""What a dtype option says about a graph: how every storage is held, and which operators it covers."""

from collections.abc import Container
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

from edgebudget.graph import FLOATING, TracedGraph


class Held(NamedTuple):
    """How one storage is held under an option: `nbytes` of elements of `dtype`, plus scales and zero points."""

    dtype: str
    nbytes: int
    quantization_nbytes: int = 0

    @property
    def total_nbytes(self) -> int:
        return self.nbytes + self.quantization_nbytes


@dataclass(frozen=True)
class Assignment:
    """An option applied to a graph: `held[s]` belongs to `graph.storages[s]`.

    `covered` are the operators, by index, that compute in the option's type; the others compute in float32.
    """

    option: str
    held: tuple[Held, ...]
    covered: frozenset[int]

    @cached_property
    def total_nbytes(self) -> tuple[int, ...]:
        """Bytes of each storage, scales and zero points included."""
        return tuple([nbytes + quantization_nbytes for _, nbytes, quantization_nbytes in self.held])

    @cached_property
    def floating_dtypes(self) -> frozenset[str]:
        """The floating-point types that storages are held in."""
        return frozenset({held.dtype for held in self.held}) & FLOATING

    def __getitem__(self, storage: int) -> Held:
        return self.held[storage]


class DtypeOption(Protocol):
    """One way to store a model's numbers. Registered by its file's name."""

    @property
    def name(self) -> str: ...

    @property
    def element_dtypes(self) -> tuple[str, ...]:
        """The types that what it covers is computed in, as a profile's `dtypes` names them: `float16`, `int8`."""
        ...

    @property
    def description(self) -> str:
        """One sentence for reports: what is stored how, and what stays as it was."""
        ...

    def assign(self, graph: TracedGraph) -> Assignment:
        """Return how each storage of `graph` is held. Pure."""
        ...

    def assign_part(self, graph: TracedGraph, operators: Container[int]) -> Assignment:
        """Return `assign` as if this option covered only `operators`, by index, and all else stayed float32. Pure."""
        ...

    def by_operator(self, graph: TracedGraph) -> tuple[str, ...]:
        """Return for each operator of `graph` the name of the option it runs under: this one's own, or its parts'."""
        ...
