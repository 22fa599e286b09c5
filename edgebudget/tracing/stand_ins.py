"""Which modules of a model get a stand-in: those that are as their class made them, and whose calls are known."""

from torch import nn
from torch.nn.modules import module as _hooks

from edgebudget.tracing.chains import chain_stand_in, is_chain, is_plain_chain
from edgebudget.tracing.leaves import LEAVES, Leaf, is_plain_leaf
from edgebudget.tracing.standing import Own


class StandIns:
    """The stand-ins of classes, looked up once each: none while a hook listens to every module's calls."""

    def __init__(self) -> None:
        self._known: dict[type[nn.Module], tuple[Leaf | None, type[nn.Module] | None]] = {}
        self._is_off = bool(_hooks._global_forward_pre_hooks or _hooks._global_forward_hooks)

    def of(self, module: nn.Module, own: Own) -> type[nn.Module] | None:
        """Return what is to stand in for `module`, having told `own` what that goes by; None where it has to run."""
        found = self._known.get(own.kind)
        if found is None:
            leaf = LEAVES.get(own.kind)
            found = self._known[own.kind] = (leaf, None if self._is_off else _stand_in(own.kind, leaf))
        leaf, stand_in = found
        if stand_in is None or own.sparse:
            return None
        if leaf is not None:
            own.constants = leaf.constants
            return stand_in if is_plain_leaf(module, leaf) else None
        if is_plain_chain(module):
            own.children = tuple(module._modules.values())  # type: ignore[arg-type]
            return stand_in
        return None


def _stand_in(kind: type[nn.Module], leaf: Leaf | None) -> type[nn.Module] | None:
    if kind.__call__ is not nn.Module.__call__:
        return None
    if leaf is not None:
        return leaf.stand_in if kind.forward is leaf.forward else None
    return chain_stand_in(kind) if is_chain(kind) else None
