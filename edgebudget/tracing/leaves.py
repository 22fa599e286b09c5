"""Leaves of `torch.nn`, whose one operator follows from constants, weights and input: learned once, then replayed.

A leaf runs as it is the first time that its class is met with these constants, these forms of weights and this form of
input. If one operator came of it (or none: a dropout), it is written down from then on without running anything, which
takes a third of the time. Whatever is not as `torch.nn` made it, such as a replaced forward or a hook before it, runs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter, itemgetter
from typing import NamedTuple, TypeVar, cast

import torch
from torch import nn
from torch.nn.modules import module as _hooks

from edgebudget.graph import Arg, Ref
from edgebudget.tracing.guards import tracked
from edgebudget.tracing.recorder import Recorder
from edgebudget.tracing.rules import Kind, Learned, Rule, Tag

T = TypeVar("T")
_SAME = Kind.SAME

_CLASSES: tuple[type[nn.Module], ...] = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, nn.Embedding,
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm,
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Softmax,
    nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Identity,
)  # fmt: skip
_BESIDE_CONSTANTS: dict[type[nn.Module], int] = {
    nn.Conv1d: 2,
    nn.Conv2d: 2,
    nn.Conv3d: 2,
}  # `transposed`, and the padding once more


class Leaf(NamedTuple):
    """A class of leaves: its forward, what that reads of an instance, and how many attributes an instance has."""

    forward: Callable[..., object]
    constants: Callable[[nn.Module], object]
    attributes: int


class Own:
    """A module's own weights for the time of a trace: what stands for each, in the order it registered them."""

    __slots__ = ("changed", "path", "refs", "signatures")

    def __init__(self, path: str) -> None:
        self.path = path
        self.refs: list[Ref] = []
        self.signatures: list[int] = []  # of their forms; 0 where None is registered
        self.changed = False  # by the forward, or not as plain as a leaf's are to begin with


class _Replay(NamedTuple):
    """What a leaf writes down: nothing (`rule` is None), or one operator over input, weights and constants.

    `args` and `inputs` pick from the input and the weights, the former from `constants` behind them as well.
    """

    rule: Rule | None
    constants: tuple[Arg, ...] = ()
    args: Callable[[tuple[Arg, ...]], tuple[Arg, ...]] = tuple
    kwargs: tuple[tuple[str, Arg], ...] = ()
    inputs: Callable[[tuple[int, ...]], tuple[int, ...]] = tuple


_REPLAYS: Learned[_Replay | None] = Learned()  # None: more than one operator, or one that has to run


def _leaf(kind: type[nn.Module]) -> Leaf:
    names: tuple[str, ...] = tuple(getattr(kind, "__constants__", ()))
    attributes = len(vars(nn.Module())) + len(names) + _BESIDE_CONSTANTS.get(kind, 0)
    return Leaf(kind.forward, attrgetter(*names) if names else type, attributes)


LEAVES: dict[type[nn.Module], Leaf] = {kind: _leaf(kind) for kind in _CLASSES}


def is_plain(module: nn.Module, leaf: Leaf) -> bool:
    """Whether `module` is as its class made it, so that its forward does what it does in all others."""
    return len(module.__dict__) == leaf.attributes and not (module._forward_pre_hooks or module._forward_hooks)


def leaf_classes() -> dict[type[nn.Module], Leaf]:
    """Return the classes whose calls can be replayed now: none while a hook listens to every module's."""
    if _hooks._global_forward_pre_hooks or _hooks._global_forward_hooks:
        return {}
    plain = nn.Module.__call__
    return {kind: leaf for kind, leaf in LEAVES.items() if kind.forward is leaf.forward and kind.__call__ is plain}


@contextmanager
def replaying(recorder: Recorder, leaves: Mapping[int, Own], classes: Iterable[type[nn.Module]]) -> Iterator[None]:
    """Within: calls of `leaves`, which go by their modules' `id`, are written down where it is known what they do.

    They are caught in their classes: nn.Module's own call costs more than all that a replay does.
    """
    for kind in classes:
        kind.__call__ = _replaying_call(recorder, leaves, kind)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for kind in classes:
            del kind.__call__


def _replaying_call(recorder: Recorder, leaves: Mapping[int, Own], kind: type[nn.Module]) -> Callable[..., object]:
    ordinary, constants = kind.__call__, LEAVES[kind].constants
    infers = torch.is_inference_mode_enabled
    without_dispatch = torch._C._DisableTorchDispatch

    def run(own: Own, module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]) -> object:
        return tracked(recorder, own.path, ordinary)(module, *args, **kwargs)

    def call(module: nn.Module, *args: object, **kwargs: object) -> object:
        own = leaves.get(id(module))
        if own is None:
            return ordinary(module, *args, **kwargs)
        if len(args) != 1 or kwargs or own.changed or module._forward_hooks or module._forward_pre_hooks:
            return run(own, module, args, kwargs)
        x = args[0]
        tag: Tag | None = getattr(x, "_edgebudget", None)
        if tag is None or tag[0] is not recorder or tag[2] < 0 or not infers():
            return run(own, module, args, kwargs)
        key = (kind, constants(module), tag[2], *own.signatures)
        try:
            replay = _REPLAYS[key]
        except KeyError:
            before, tensors = len(recorder.ops), (tag.ref, *own.refs)
            out = run(own, module, args, kwargs)
            _REPLAYS.remember(key, _learned(recorder, before, x, tensors, out))
            return out
        except TypeError:  # a list among the constants
            return run(own, module, args, kwargs)
        if replay is None:
            return run(own, module, args, kwargs)
        rule, behind, pick_args, named, pick_inputs = replay
        if rule is None:
            return x
        tensors = (tag[3], *own.refs)
        if rule[0] is _SAME:
            recorder.rewrite(
                cast(torch.Tensor, x), rule[1], own.path, pick_args(tensors + behind), named, pick_inputs(tensors)
            )
            return x
        undispatched = without_dispatch()  # while it lives; the recorder is not to see itself
        try:
            return recorder.make(rule, own.path, pick_args(tensors + behind), named, pick_inputs(tensors))
        finally:
            del undispatched

    return call


def _learned(recorder: Recorder, before: int, x: object, tensors: tuple[Ref, ...], out: object) -> _Replay | None:
    """Return how to write down again what a leaf has just recorded, or None where that does not follow from forms."""
    made = recorder.ops[before:]
    if not made:
        return _Replay(None) if out is x else None
    rule, op = recorder.last_rule, made[0]
    if len(made) > 1 or rule is None or rule.target != op.target or not isinstance(out, torch.Tensor):
        return None
    is_same = rule.kind is Kind.SAME and out is x
    is_fresh = rule.kind is Kind.FRESH and out._edgebudget.ids == op.outputs  # type: ignore[attr-defined]
    places = {int(ref): i for i, ref in enumerate(tensors)}
    refs = [arg for arg in op.args if isinstance(arg, Ref)]
    if not (is_same or is_fresh) or len(refs) != len(op.inputs) or not places.keys() >= set(op.inputs):
        return None
    constants = [arg for arg in op.args if not isinstance(arg, Ref)]
    behind = iter(range(len(tensors), len(tensors) + len(constants)))
    args = [places[arg] if isinstance(arg, Ref) else next(behind) for arg in op.args]
    return _Replay(rule, tuple(constants), _picker(args), op.kwargs, _picker([places[i] for i in op.inputs]))


def _picker(places: list[int]) -> Callable[[tuple[T, ...]], tuple[T, ...]]:
    if len(places) > 1:
        return itemgetter(*places)
    return itemgetter(slice(places[0], places[0] + 1))
