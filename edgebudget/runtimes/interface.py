"""What a runtime says about a graph under a dtype option on a target: its memory, part by part."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, TypeVar, overload

from edgebudget.dtypes.interface import Assignment, DtypeOption
from edgebudget.graph import TracedGraph
from edgebudget.planning.interface import ArenaPlan
from edgebudget.target import Target

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PeakOp:
    """The operator at which the activations peak: its position, ATen name, and module path in the traced model."""

    index: int
    name: str
    module: str


class LiveTensor(NamedTuple):
    """An activation in the runtime's own order of operators: what it is, and from when to when it is held.

    `first` and `last` are positions in the layout's `timeline`, inclusive. `offset` is where it stands in the planned
    memory, None where nothing is planned ahead.
    """

    name: str  # module path and operator, for people
    nbytes: int
    first: int
    last: int
    offset: int | None = None


class OnDemand(Sequence[T]):
    """A tuple that is made when it is first looked at: what figures show is of no use to the many that only compare."""

    __slots__ = ("_made",)

    def __init__(self, make: Callable[[], Iterable[T]]) -> None:
        self._made: Callable[[], Iterable[T]] | tuple[T, ...] = make

    def _items(self) -> tuple[T, ...]:
        if not isinstance(self._made, tuple):
            self._made = tuple(self._made())
        return self._made

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...
    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        return self._items()[index]

    def __iter__(self) -> Iterator[T]:
        return iter(self._items())

    def __len__(self) -> int:
        return len(self._items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._items() == tuple(other)

    def __reduce__(self) -> tuple[type, tuple[tuple[T, ...]]]:
        return tuple, (self._items(),)


class Kept(NamedTuple):
    """What one process may keep beyond heap and mapped pages, at the peak of loading and at that of inference."""

    load_bytes: int
    inference_bytes: int


@dataclass(frozen=True)
class MemoryLayout:
    """How a runtime holds one model; all sizes in bytes, nothing counted twice.

    `activation_bytes` is what the runtime's allocator or arena takes for activations, inputs and outputs;
    `workspace_bytes` scratch, packed copies and indirection buffers alive at the inference peak. `load_heap_bytes` and
    `inference_heap_bytes` are the heap's peaks while loading and while running (weights as held, activations,
    workspace, transient copies); `*_mapped_bytes` the resident pages of a mapped file at those peaks. `*_kept_bytes`
    are what the process holds beyond all these at its own peaks: pages that the allocator keeps of what was freed, less
    what it gave out and nothing has written to, and less code that only running touches; they may be negative.
    `kept_running` is more of that at the peak of inference, where it is only worked out when it is looked at. Where
    processes of the same program differ, `kept_least` and `kept_most` bound what one may keep, None where they do not.
    `timeline` is what is alive at each operator of the runtime's graph: (module path and operator, bytes). `held` is
    how the runtime holds each storage of the trace, where that is not as the option says.
    """

    activation_lower_bound_bytes: int
    activation_bytes: int
    activation_total_bytes: int
    activation_peak_numel: int
    workspace_bytes: int
    load_heap_bytes: int
    inference_heap_bytes: int
    load_mapped_bytes: int
    inference_mapped_bytes: int
    storage_bytes: int
    runtime_bytes: int
    peak_op: PeakOp
    timeline: Sequence[tuple[str, int]]
    tensors: Sequence[LiveTensor] = ()
    arena: ArenaPlan | None = None
    unmodelled_ops: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    held: Assignment | None = None
    load_kept_bytes: int = 0
    inference_kept_bytes: int = 0
    kept_running: Sequence[int] = ()
    kept_least: Kept | None = None
    kept_most: Kept | None = None

    @property
    def load_pages_bytes(self) -> int:
        """Pages beyond the heap at the peak of loading: those of a mapped file, and those that the allocator keeps."""
        return self.load_mapped_bytes + self.load_kept_bytes

    @property
    def inference_pages_bytes(self) -> int:
        """The same at the peak of inference."""
        return self.inference_mapped_bytes + self.inference_kept_bytes + sum(self.kept_running)

    @property
    def load_peak_bytes(self) -> int:
        """Heap, mapped pages and the runtime itself at the peak of loading."""
        return self.load_heap_bytes + self.load_mapped_bytes + self.runtime_bytes

    @property
    def inference_peak_bytes(self) -> int:
        """Heap, mapped pages and the runtime itself at the peak of inference."""
        return self.inference_heap_bytes + self.inference_mapped_bytes + self.runtime_bytes

    @property
    def load_resident_bytes(self) -> int:
        """What the process holds for this model at the peak of loading, the runtime left out."""
        return self.load_heap_bytes + self.load_pages_bytes

    @property
    def inference_resident_bytes(self) -> int:
        """What the process holds for this model at the peak of inference, the runtime left out."""
        return self.inference_heap_bytes + self.inference_pages_bytes

    @property
    def resident_peak_bytes(self) -> int:
        """The larger of the two, with the runtime: what the system charges the process."""
        return max(self.load_resident_bytes, self.inference_resident_bytes) + self.runtime_bytes

    @property
    def of_least_process(self) -> "MemoryLayout":
        """The layout of a process that keeps as little as any does."""
        return self if self.kept_least is None else self._keeping(self.kept_least)

    @property
    def of_largest_process(self) -> "MemoryLayout":
        """The layout of a process that keeps as much as any does."""
        return self if self.kept_most is None else self._keeping(self.kept_most)

    def _keeping(self, kept: Kept) -> "MemoryLayout":
        return replace(self, load_kept_bytes=kept.load_bytes, inference_kept_bytes=kept.inference_bytes)


@dataclass(frozen=True, slots=True)
class Unsupported:
    """Why a runtime cannot run a dtype option, in one sentence."""

    reason: str


class Runtime(Protocol):
    """One runtime. Registered by its file's name."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str:
        """One sentence for reports: what is modelled, and how."""
        ...

    def lay_out(self, graph: TracedGraph, option: DtypeOption, target: Target) -> MemoryLayout | Unsupported:
        """Return how this runtime holds `graph` under `option` on `target`, or why it cannot. Pure."""
        ...
