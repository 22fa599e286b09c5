"""Chains: `nn.Sequential` and what inherits its forward. What goes from one module to the next needs no tensor.

A chain of leaves is written down operator by operator; a tensor is made of what comes out at its end, or goes into a
module that has to run.
"""

from collections.abc import Iterable
from itertools import islice
from typing import cast

import torch
from torch import nn

from edgebudget.graph import Ref
from edgebudget.tracing.blocks import play_on
from edgebudget.tracing.guards import SCALARS
from edgebudget.tracing.leaves import replay_of
from edgebudget.tracing.recorder import Recorder
from edgebudget.tracing.rules import Form, Kind, Tag
from edgebudget.tracing.standing import STANDING, Own, StandInsOf, look

_SAME = Kind.SAME
_OF_MODULE = len(vars(nn.Module()))
_infers = torch.is_inference_mode_enabled


class _Value:
    """What goes through a chain: of `form`, in `block`, and with no `tensor` while it is only promised.

    `signature` is negative where no leaf can be replayed on it.
    """

    __slots__ = ("block", "form", "ref", "signature", "tensor")

    def __init__(self, tensor: object, signature: int, ref: Ref, form: Form | None = None, block: int = -1) -> None:
        self.tensor = tensor
        self.signature = signature
        self.ref = ref
        self.form = form
        self.block = block


def is_chain(kind: type[nn.Module]) -> bool:
    """Whether instances of `kind` do what `nn.Sequential` does."""
    return kind.forward is nn.Sequential.forward and kind.__iter__ is nn.Sequential.__iter__  # type: ignore[attr-defined]


def is_plain_chain(module: nn.Module) -> bool:
    """Whether `module` is as `nn.Sequential` made it but for plain numbers and texts, and without weights or hooks."""
    own = module.__dict__
    if own["_parameters"] or own["_buffers"] or own["_forward_pre_hooks"] or own["_forward_hooks"]:
        return False
    return len(own) == _OF_MODULE or SCALARS.issuperset(map(type, islice(own.values(), _OF_MODULE, None)))


def _call(module: nn.Module, *args: object, **kwargs: object) -> object:
    own = STANDING.get(id(module))
    if own is None or own.children is None or len(args) != 1 or kwargs or not _infers():
        return look(module)(*args, **kwargs)
    return _tensor_of(own.recorder, _run(own, own.children, _value_of(own.recorder, args[0])))


def _run(own: Own, children: Iterable[nn.Module], given: _Value) -> _Value:
    """Run a chain's modules one after the other.

    What goes from one to the next is held until the next has returned; what was given, by whom it was given.
    """
    recorder, x = own.recorder, given
    for child in children:
        before = x
        try:
            x = _run_child(recorder, child, before)
        except BaseException:
            if before is not given:
                _let_go(recorder, before)
            raise
        if before is not x and before is not given:
            _let_go(recorder, before)
    return x


def _let_go(recorder: Recorder, value: _Value) -> None:
    if value.tensor is None:
        recorder.expire(value.block)
    value.tensor = None


def _run_child(recorder: Recorder, child: nn.Module, x: _Value) -> _Value:
    own = STANDING.get(id(child))
    if own is not None and x.signature >= 0:
        if own.children is not None:
            return _run(own, own.children, x)
        if own.is_block:
            played = play_on(own, x.signature, x.ref)
            if played is not None:
                return x if isinstance(played, int) else _promised(*played)
        replay = replay_of(own, x.signature)
        if replay is not None:
            rule, behind, pick_args, named, pick_inputs = replay
            if rule is None:
                return x
            tensors = (x.ref, *own.refs)
            args, inputs = pick_args(tensors + behind), pick_inputs(tensors)
            if rule[0] is not _SAME:
                return _promised(*recorder.promise(rule, own.path, args, named, inputs))
            if x.tensor is None:
                x.ref = recorder.rewrite_value(x.ref, rule[1], own.path, args, named, inputs)
            else:
                tensor = cast(torch.Tensor, x.tensor)
                recorder.rewrite(tensor, rule[1], own.path, args, named, inputs)
                x.ref = cast(Tag, tensor._edgebudget).ref  # type: ignore[attr-defined]
            return x
    given = _tensor_of(recorder, x)
    out = child(given)
    value = _value_of(recorder, out)
    if out is not given:
        return value
    x.ref = value.ref
    return x


def _promised(form: Form, ref: Ref, block: int) -> _Value:
    return _Value(None, form[0], ref, form, block)


def _value_of(recorder: Recorder, tensor: object) -> _Value:
    tag: Tag | None = getattr(tensor, "_edgebudget", None)
    if tag is None or tag[0] is not recorder:
        return _Value(tensor, -1, Ref(0))
    return _Value(tensor, tag[2], tag[3])


def _tensor_of(recorder: Recorder, value: _Value) -> object:
    if value.form is not None and value.tensor is None:
        value.tensor = recorder.made((value.form, value.ref, value.block))
    return value.tensor


chain_stand_in = StandInsOf(_call)
"""The class that stands in for a chain's."""
