"""Which modules of a model get a stand-in: those that are as their class made them, and whose calls are known."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import nn
from torch.nn.modules import module as _hooks

from edgebudget.tracing.blocks import block_stand_in, is_block
from edgebudget.tracing.chains import chain_stand_in, is_chain, is_plain_chain
from edgebudget.tracing.guards import MADE_BY_MODULE
from edgebudget.tracing.leaves import LEAVES, Leaf, is_plain_leaf
from edgebudget.tracing.rules import PLAIN, Learned
from edgebudget.tracing.standing import Own

_MAKEUPS: Learned[int] = Learned()


class _Kind(NamedTuple):
    """What instances of a class are, if they are as it made them; without a stand-in, they have to run."""

    stand_in: type[nn.Module] | None
    leaf: Leaf | None = None
    is_block: bool = False


class StandIns:
    """The stand-ins of a model's modules: none while a hook listens to every module's calls."""

    def __init__(self) -> None:
        self._kinds: dict[type[nn.Module], _Kind] = {}
        self._is_off = bool(_hooks._global_forward_pre_hooks or _hooks._global_forward_hooks)

    def assign(self, owns: Sequence[Own], modules: Sequence[nn.Module]) -> None:
        """Tell each of `owns` what is to stand in for its module, what that goes by, and where what is below it ends.

        Both are in the order in which parents come before all that is below them.
        """
        kinds = self._kinds
        for index in range(len(owns) - 1, -1, -1):
            own, module = owns[index], modules[index]
            kind = kinds.get(own.kind)
            if kind is None:
                kind = kinds[own.kind] = _Kind(None) if self._is_off else _kind_of(own.kind)
            children = module.__dict__["_modules"]
            own.last = own.first + len(own.refs)
            makeups = _look_below(own, children, owns, modules) if children else ()
            stand_in, leaf, own.is_block = kind
            if stand_in is None or own.sparse:
                continue
            if leaf is not None:
                if is_plain_leaf(module, leaf):
                    own.makeup = _makeup((own.kind, leaf.constants(module), *own.signatures))
                    own.stand_in = stand_in if own.makeup else None
            elif not own.is_block:
                if is_plain_chain(module):
                    own.stand_in = stand_in
                    own.children = tuple(children.values())
                    if 0 not in makeups:
                        own.makeup = _makeup((own.kind, *makeups))
            elif 0 not in makeups:
                own.makeup = _makeup_of_block(module, own, makeups)
                own.stand_in = stand_in if own.makeup else None


def _kind_of(kind: type[nn.Module]) -> _Kind:
    if kind is nn.ModuleList or kind is nn.ModuleDict:
        return _Kind(None, is_block=True)
    if kind.__call__ is not nn.Module.__call__:
        return _Kind(None)
    leaf = LEAVES.get(kind)
    if leaf is not None:
        return _Kind(leaf.stand_in if kind.forward is leaf.forward else None, leaf)
    if is_chain(kind):
        return _Kind(chain_stand_in(kind))
    return _Kind(block_stand_in(kind), is_block=True) if is_block(kind) else _Kind(None)


def _look_below(
    own: Own, children: Mapping[str, nn.Module | None], owns: Sequence[Own], modules: Sequence[nn.Module]
) -> list[int]:
    """Return the makeups of a module's children, -1 for None and 0 for one that stands elsewhere too; set its end."""
    makeups = []
    at, count = own.end, len(owns)
    for child in children.values():
        if child is None:
            makeups.append(-1)
        elif at < count and modules[at] is child:
            below = owns[at]
            makeups.append(below.makeup)
            at, own.last = below.end, below.last
        else:
            makeups.append(0)
    own.end = at
    return makeups


def _makeup(key: tuple[object, ...]) -> int:
    """Return the number of all modules that are made up like this; 0 where one cannot be told from another."""
    try:
        known = _MAKEUPS.get(key)
    except TypeError:  # a list among the constants
        return 0
    if known is None:
        _MAKEUPS.remember(key, len(_MAKEUPS) + 1)
        return _MAKEUPS.get(key, 0)  # 0 once there are too many to remember
    return known


def _makeup_of_block(module: nn.Module, own: Own, makeups: Sequence[int]) -> int:
    attributes = module.__dict__
    if attributes["_forward_pre_hooks"] or attributes["_forward_hooks"]:
        return 0
    held = [(name, _frozen(value)) for name, value in attributes.items() if name not in MADE_BY_MODULE]
    names = tuple([tuple(attributes[kind]) for kind in ("_modules", "_parameters", "_buffers")])
    return _makeup((own.kind, own.kind.forward, names, tuple(held), *makeups, *own.signatures))


def _frozen(value: object) -> object:
    """Return what tells `value` from others, 1 from 1.0 and True; a list (refused as a key) where nothing can."""
    if value.__class__ in PLAIN:
        return value.__class__, value
    if value.__class__ is list or value.__class__ is tuple:
        return value.__class__, tuple([_frozen(item) for item in value])
    return []
