"""What is learned once a process, so that operators need not run again: forms of tensors, and what operators return."""

from enum import Enum
from typing import ClassVar, NamedTuple, TypeVar, cast

import torch

from edgebudget.graph import Arg, Ref
from edgebudget.tracing.values import name_of

T = TypeVar("T")

_MAX_LEARNED = 200_000  # bounds memory in a long-lived process; all of torchvision learns about a tenth of it


class Kind(Enum):
    FRESH = 0  # one new tensor with memory of its own
    SAME = 1  # one of the arguments: in-place operators, and casts or dropouts that do nothing
    VIEW = 2  # a new tensor over the memory of the first argument
    RUN = 3  # several outputs, moves between devices: run it


class Form(NamedTuple):
    """All that shape rules depend on in a tensor; `signature` stands for it, and is negative for a real tensor's."""

    signature: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    dtype_name: str


class Rule(NamedTuple):
    """What an operator returns for one signature of its arguments."""

    kind: Kind
    target: str
    position: int = 0  # SAME: which argument
    mutates: bool = False  # SAME: a new value, or nothing at all
    form: Form = Form(0, (), (), torch.float32, "float32")
    nbytes: int = 0  # FRESH: of its storage
    shift: int = 0  # VIEW: elements from where its base begins to where it does


class Tag(NamedTuple):
    """What a trace knows of a tensor, kept on the tensor as `_edgebudget`."""

    owner: object  # the recorder that met it
    ids: tuple[int, ...]  # of its value; several where the layout is sparse
    signature: int
    ref: Ref  # the last of `ids`, as an argument


class Learned(dict[tuple[object, ...], T]):
    """What holds for calls by what they are like: bounded, and forgotten under another default dtype."""

    _all: ClassVar[list["Learned[object]"]] = []
    _under: ClassVar[torch.dtype] = torch.get_default_dtype()

    def __init__(self) -> None:
        super().__init__()
        Learned._all.append(cast("Learned[object]", self))

    def remember(self, key: tuple[object, ...], value: T) -> None:
        if len(self) < _MAX_LEARNED:
            self[key] = value

    @classmethod
    def forget_other_defaults(cls) -> None:
        """Drop what was learned under another default dtype: it is the type of `integers * 0.5`."""
        if Learned._under != torch.get_default_dtype():
            Learned._under = torch.get_default_dtype()
            for learned in Learned._all:
                learned.clear()


RULES: Learned[Rule] = Learned()
"""By an operator's name and the signatures and constants among its arguments."""

RAN: set[object] = set()
"""The operators that torch has run in this process, on whatever. The first time that it runs one it imports and caches,
and garbage of that may hold tensors for too long."""

FORMS: dict[tuple[object, ...], Form] = {}
"""Every form met, by shape, stride, dtype, and whether it is a real tensor's."""


def form_of(shape: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype, real: bool) -> Form:
    """Return the one `Form` of tensors with this shape, stride and dtype."""
    key = (shape, stride, dtype, real)
    form = FORMS.get(key)
    if form is None:
        number = len(FORMS) + 1
        form = FORMS[key] = Form(-number if real else number, tuple(shape), tuple(stride), dtype, name_of(dtype))
    return form


REFS: list[Ref] = []
"""The one `Ref` to each tensor's id, as far as any trace has come; making one anew takes six times as long."""

ALONE: list[tuple[int]] = []
"""The one tuple of each of these ids alone: graphs are full of them, and what is shared is collected once."""


def reach(number: int) -> None:
    """Have `REFS` and `ALONE` hold `number`: to be called before it is looked up, where they are too short for it."""
    more = range(len(REFS), 2 * number + 1024)
    REFS.extend(map(Ref, more))
    ALONE.extend(zip(more, strict=True))


def constant_of(value: object) -> Arg:
    """Return a non-tensor argument as the graph keeps it: torch's own objects by name."""
    if value.__class__ in PLAIN:
        return value  # type: ignore[return-value]
    if isinstance(value, (list, tuple)):
        return tuple(constant_of(item) for item in value)
    return name_of(value)


PLAIN = frozenset({type(None), bool, int, float, complex, str})
