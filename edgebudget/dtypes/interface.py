"""What a dtype option says about a graph: how every storage is held, and which operators it covers."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
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
    """An option applied to a graph: `dtypes[s]` and `nbytes[s]` are how the elements of `graph.storages[s]` are held.

    `quantization_nbytes` are the scales and zero points of those storages that have any. `covered` are the operators,
    by index, that compute in the option's type; the others compute in float32.
    """

    option: str
    dtypes: tuple[str, ...]
    nbytes: tuple[int, ...]
    covered: frozenset[int]
    quantization_nbytes: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, option: str, held: Sequence[Held], covered: frozenset[int]) -> "Assignment":
        """Return the assignment that holds each storage as `held` says, one after the other."""
        quantization = {s: h.quantization_nbytes for s, h in enumerate(held) if h.quantization_nbytes}
        return cls(option, tuple([h.dtype for h in held]), tuple([h.nbytes for h in held]), covered, quantization)

    @cached_property
    def total_nbytes(self) -> tuple[int, ...]:
        """Bytes of each storage, scales and zero points included."""
        total = list(self.nbytes)
        for storage, nbytes in self.quantization_nbytes.items():
            total[storage] += nbytes
        return tuple(total)

    @cached_property
    def floating_dtypes(self) -> frozenset[str]:
        """The floating-point types that storages are held in."""
        return FLOATING.intersection(self.dtypes)

    @cached_property
    def held(self) -> tuple[Held, ...]:
        """How each storage is held, one after the other."""
        return tuple([self[storage] for storage in range(len(self.dtypes))])

    def __getitem__(self, storage: int) -> Held:
        return Held(self.dtypes[storage], self.nbytes[storage], self.quantization_nbytes.get(storage, 0))


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
