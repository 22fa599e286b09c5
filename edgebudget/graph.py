"""What a trace is, once torch is out of the picture: tensors over storages, operators in order, and lifetimes.

Everything after the trace works on these frozen values. Indices are positions: `graph.tensors[t.id] is t`,
`graph.storages[s.id] is s`, `graph.ops[op.index] is op`. Storages, tensors and operators, which a trace makes by the
thousand, are named tuples: they take a third of the time of a frozen dataclass to make.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, cached_property, wraps
from math import prod
from typing import NamedTuple, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

ITEMSIZE: Mapping[str, int] = {
    "bool": 1, "uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "uint32": 4, "int32": 4, "uint64": 8, "int64": 8,
    "float8_e4m3fn": 1, "float8_e5m2": 1, "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8,
    "complex32": 4, "complex64": 8, "complex128": 16,
}  # fmt: skip
FLOATING = frozenset({"float8_e4m3fn", "float8_e5m2", "float16", "bfloat16", "float32", "float64"})


class Role(StrEnum):
    """Where a storage comes from, and with it who pays for it."""

    PARAMETER = "parameter"
    BUFFER = "buffer"
    CONSTANT = "constant"  # a tensor the model holds or makes from Python data, neither parameter nor buffer
    INPUT = "input"
    ACTIVATION = "activation"

    __hash__ = str.__hash__  # an enum's own runs in Python

    @property
    def is_weight(self) -> bool:
        """Whether the bytes come with the model's file."""
        return self in WEIGHT_ROLES


WEIGHT_ROLES = frozenset({Role.PARAMETER, Role.BUFFER, Role.CONSTANT})
_PARAMETER, _BUFFER = Role.PARAMETER, Role.BUFFER  # looked up in the enum, each takes twice as long


class Ref(int):
    """A tensor's id where it stands among an operator's arguments, so that it cannot be mistaken for a number."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"%{int(self)}"


Arg: TypeAlias = "Ref | None | bool | int | float | complex | str | tuple[Arg, ...]"

NUMBERS = frozenset({int, float, bool})
"""The types of arguments that hold no tensor: shapes and strides are tuples of nothing else."""


def refs_in(args: "tuple[Arg, ...]") -> list[int]:
    """Return the ids of the tensors among `args`, in order, one that stands there twice twice."""
    found: list[int] = []
    for arg in args:
        if isinstance(arg, Ref):
            found.append(int(arg))
        elif isinstance(arg, tuple) and not NUMBERS.issuperset(map(type, arg)):
            found += refs_in(arg)
    return found


@cache
def _short_name(target: str) -> str:
    return target.split(".")[1] if "." in target else target


class Storage(NamedTuple):
    """One block of memory that tensors view.

    `born` and `dies` are operator indices, inclusive, as eager PyTorch would have them: an activation dies after the
    last operator that ran before Python dropped its last reference. What exists before the first operator is born
    at -1; what outlives the forward (weights, inputs, outputs) dies at `len(graph.ops)`.
    """

    id: int
    nbytes: int
    dtype: str
    role: Role
    name: str
    born: int
    dies: int
    persistent: bool = True  # False: a buffer that is not part of the state dict
    trainable: bool = False

    @property
    def numel(self) -> int:
        return self.nbytes // ITEMSIZE[self.dtype]


class TensorSpec(NamedTuple):
    """One value: a shape over a storage. Sparse tensors have one spec per component (indices, values, ...)."""

    id: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str
    storage: int
    offset: int = 0

    @property
    def numel(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.numel * ITEMSIZE[self.dtype]


class Op(NamedTuple):
    """One operator as eager PyTorch ran it. `target` is `aten.conv2d.default`, `module` the dotted path that ran it.

    `args` and `kwargs` hold constants as they were and tensors as `Ref`; `inputs` and `outputs` are the tensor ids
    in order. An output that shares its storage with an input is a view or the result of an in-place operator.
    """

    index: int  # type: ignore[assignment]  # hides the method of tuples
    target: str
    module: str
    args: tuple[Arg, ...]
    kwargs: tuple[tuple[str, Arg], ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def name(self) -> str:
        """The operator without namespace and overload: `conv2d`."""
        return _short_name(self.target)

    def arg(self, position: int, name: str, default: Arg = None) -> Arg:
        """Return the argument given at `position` or by `name`, else `default`."""
        if position < len(self.args):
            return self.args[position]
        return dict(self.kwargs).get(name, default)


@dataclass(frozen=True, slots=True)
class Truncation:
    """Why a trace covers only the front of a model: the operator that needs data, and the module it stands in."""

    module: str
    target: str
    reason: str


@dataclass(frozen=True, eq=False)
class TracedGraph:
    """A model's forward at fixed input shapes. Two graphs are equal only if they are the same one.

    `inputs` and `outputs` are tensor ids; `parameters` maps every dotted name, tied ones included, to the storages that
    hold it (one for a dense tensor, several for a sparse one). `modules` maps dotted paths to class names.
    """

    name: str
    storages: tuple[Storage, ...]
    tensors: tuple[TensorSpec, ...]
    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    parameters: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    buffers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    modules: Mapping[str, str] = field(default_factory=dict)
    truncation: Truncation | None = None

    @cached_property
    def weights(self) -> tuple[Storage, ...]:
        """Parameters, buffers and constants: what comes with the model's file."""
        return tuple([s for s in self.storages if s[3] in WEIGHT_ROLES])

    @cached_property
    def activations(self) -> tuple[Storage, ...]:
        """Inputs and everything that the forward makes."""
        return tuple([s for s in self.storages if s[3] not in WEIGHT_ROLES])

    @cached_property
    def parameter_storages(self) -> tuple[Storage, ...]:
        """The weights that are parameters, tied ones once."""
        return tuple([s for s in self.weights if s[3] is _PARAMETER])

    @cached_property
    def buffer_storages(self) -> tuple[Storage, ...]:
        """The weights that are buffers, persistent or not."""
        return tuple([s for s in self.weights if s[3] is _BUFFER])

    @cached_property
    def parameter_numel(self) -> int:
        """Elements of all parameters, tied ones once."""
        return sum([s[1] // ITEMSIZE[s[2]] for s in self.parameter_storages])

    @cached_property
    def buffer_numel(self) -> int:
        """Elements of all buffers, persistent or not."""
        return sum([s[1] // ITEMSIZE[s[2]] for s in self.buffer_storages])

    @cached_property
    def floating_dtypes(self) -> frozenset[str]:
        """The floating-point types of its storages, as they were traced."""
        return FLOATING.intersection([s[2] for s in self.storages])

    @cached_property
    def op_names(self) -> tuple[str, ...]:
        """The name of each operator."""
        return tuple([_short_name(op[1]) for op in self.ops])

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """What people read for each operator: the module that runs it, and its name."""
        return tuple(
            [f"{op.module}: {name}" if op.module else name for op, name in zip(self.ops, self.op_names, strict=True)]
        )

    def of_role(self, *roles: Role) -> Iterator[Storage]:
        """Yield the storages with one of `roles`, in the order they came to be."""
        return (storage for storage in self.storages if storage.role in roles)

    def storage_of(self, tensor: int) -> Storage:
        return self.storages[self.tensors[tensor].storage]

    @cached_property
    def producers(self) -> Mapping[int, Op]:
        """The operator that made each tensor; inputs and weights have none."""
        return {t: op for op in self.ops for t in op.outputs}

    @cached_property
    def consumers(self) -> Mapping[int, tuple[Op, ...]]:
        """The operators that read each tensor, in order; a tensor nobody reads is absent."""
        readers: dict[int, list[Op]] = {}
        for op in self.ops:
            for t in dict.fromkeys(op.inputs):
                readers.setdefault(t, []).append(op)
        return {t: tuple(ops) for t, ops in readers.items()}


def once_per_graph(compute: Callable[[TracedGraph], T]) -> Callable[[TracedGraph], T]:
    """Have `compute`, which is pure, run once for each graph: what it returned is kept for as long as the graph is."""
    known: WeakKeyDictionary[TracedGraph, T] = WeakKeyDictionary()

    @wraps(compute)
    def computed(graph: TracedGraph) -> T:
        try:
            return known[graph]
        except KeyError:
            result = known[graph] = compute(graph)
            return result

    return computed
