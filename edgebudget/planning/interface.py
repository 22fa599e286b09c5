"""The planner's words: buffers with a lifetime go in, offsets in one arena come out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Buffer(NamedTuple):
    """A block to place: `nbytes` alive from operator `first` to operator `last`, both inclusive."""

    id: int
    nbytes: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class ArenaPlan:
    """Where each buffer goes: `offsets[i]` belongs to `buffers[i]`; `nbytes` is what the arena takes in all."""

    buffers: tuple[Buffer, ...]
    offsets: tuple[int, ...]
    nbytes: int


class Planner(Protocol):
    """A pure function from buffers to a plan in which no two overlap in time and space."""

    def __call__(self, buffers: Sequence[Buffer], alignment: int = 1) -> ArenaPlan: ...
