"""Stand-ins: for the time of a trace, a module whose calls are known beforehand is of a class derived from its own.

The stand-in's call writes down what is known. Whoever looks at the module's weights, its hooks or its `__dict__`, or
sets anything, makes it a module like any other: its own class comes back, and twins for its weights.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType

import torch
from torch import nn

from edgebudget.graph import Ref
from edgebudget.tracing.recorder import Recorder

_NONE: Mapping[str, torch.Tensor] = MappingProxyType({})
LOOKED_AT = ("__dict__", "_parameters", "_buffers", "_forward_hooks", "_forward_pre_hooks")
"""The attributes that are not as they seem while a stand-in is there."""

_MOST_STAND_INS = 1024  # bounds memory where classes are made again and again
_set_class = object.__dict__["__class__"].__set__  # beneath what a stand-in says of its class


class Own:
    """A module and its own weights for the time of a trace: what stands for each, in the order it registered them.

    The module is the `index`-th of the recorder's `paths`; what is below it comes right after, up to `end`. Its weights
    and theirs have the ids from `first` up to `last`.
    """

    __slots__ = (
        "children", "end", "first", "index", "is_block", "kind", "last", "look", "makeup", "path", "recorder",
        "refs", "signatures", "sparse", "stand_in",
    )  # fmt: skip

    def __init__(
        self,
        recorder: Recorder,
        path: str,
        index: int,
        first: int,
        kind: type[nn.Module],
        look: Callable[["Own", nn.Module], None],
    ) -> None:
        self.recorder = recorder
        self.path = path
        self.index = index
        self.first = first
        self.kind = kind
        self.look = look  # gives the module twins for its weights
        self.refs: list[Ref] = []
        self.signatures: list[int] = []  # of their forms; 0 where None is registered
        self.sparse = _NONE  # weights that are their own twins, by name
        self.end = index + 1
        self.last = first
        self.makeup = 0  # stands for all that its forward depends on beside its input; 0 where that is not known
        self.stand_in: type[nn.Module] | None = None
        self.is_block = False
        self.children: tuple[nn.Module, ...] | None = None  # of a chain


STANDING: dict[int, Own] = {}
"""What is known of each module that has a stand-in now, by the module's `id`."""


def stand_in(module: nn.Module, own: Own) -> None:
    """Make `module` one of the stand-in of its class until it is looked at or `stand_down`."""
    STANDING[id(module)] = own
    _set_class(module, own.stand_in)


def stand_down(modules: Iterable[nn.Module]) -> None:
    """Give those of `modules` their own class back that have a stand-in."""
    for module in modules:
        own = STANDING.pop(id(module), None)
        if own is not None:
            _set_class(module, own.kind)


def look(module: nn.Module) -> nn.Module:
    """Return `module`, of a stand-in's class, with its own class, and with twins for its weights."""
    _set_class(module, type(module).__base__)
    own = STANDING.pop(id(module), None)
    if own is not None:  # else one that a forward has just made by `type(module)`
        own.look(own, module)
    return module


class StandInsOf:
    """The stand-ins of classes whose instances all do the same `call`; each made once."""

    def __init__(self, call: Callable[..., object]) -> None:
        self._call = call
        self._made: dict[type[nn.Module], type[nn.Module]] = {}

    def __call__(self, kind: type[nn.Module]) -> type[nn.Module]:
        found = self._made.get(kind)
        if found is None:
            found = stand_in_for(kind, self._call, (*LOOKED_AT, "_modules"))
            if len(self._made) < _MOST_STAND_INS:
                self._made[kind] = found
        return found


def stand_in_for(
    kind: type[nn.Module], call: Callable[..., object], looked_at: Iterable[str] = LOOKED_AT
) -> type[nn.Module]:
    """Return a class derived from `kind` whose instances do `call`, and are `kind`'s again when looked at."""

    def attribute(name: str, module: nn.Module) -> object:
        return getattr(look(module), name)

    def assign(name: str, module: nn.Module, value: object) -> None:
        object.__setattr__(look(module), name, value)

    body: dict[str, object] = {name: property(partial(attribute, name), partial(assign, name)) for name in looked_at}
    body["__call__"] = call
    body["__getattr__"] = lambda module, name: getattr(look(module), name)
    body["__setattr__"] = lambda module, name, value: setattr(look(module), name, value)
    body["__delattr__"] = lambda module, name: delattr(look(module), name)
    body["__reduce_ex__"] = lambda module, protocol: look(module).__reduce_ex__(protocol)
    body["__class__"] = property(lambda module: kind)
    body |= {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(kind.__name__, (kind,), body)
