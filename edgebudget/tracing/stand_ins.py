"""Which modules of a model get a stand-in: those that are as their class made them, and whose calls are known."""

from collections.abc import Callable

from torch import nn
from torch.nn.modules import module as _hooks

from edgebudget.tracing.chains import chain_stand_in, is_chain, is_plain_chain
from edgebudget.tracing.leaves import LEAVES, is_plain_leaf
from edgebudget.tracing.standing import Own


class StandIns:
    """The stand-ins of classes, looked up once each: none while a hook listens to every module's calls."""

    def __init__(self) -> None:
        self._known: dict[type[nn.Module], type[nn.Module] | None] = {}
        self._is_off = bool(_hooks._global_forward_pre_hooks or _hooks._global_forward_hooks)

    def of(self, module: nn.Module, own: Own) -> type[nn.Module] | None:
        """Return what is to stand in for `module`, having told `own` what that goes by; None where it has to run."""
        kind = own.kind
        try:
            found = self._known[kind]
        except KeyError:
            found = self._known[kind] = None if self._is_off else _stand_in(kind)
        if found is None or own.sparse:
            return None
        leaf = LEAVES.get(kind)
        if leaf is None:
            if not is_plain_chain(module):
                return None
            own.children = tuple(child for child in module._modules.values() if child is not None)
        elif is_plain_leaf(module, leaf):
            own.constants = leaf.constants
        else:
            return None
        return found


def _stand_in(kind: type[nn.Module]) -> type[nn.Module] | None:
    if kind.__call__ is not nn.Module.__call__:
        return None
    leaf = LEAVES.get(kind)
    if leaf is not None:
        return leaf.stand_in if kind.forward is leaf.forward else None
    return chain_stand_in(kind) if is_chain(kind) else None
