"""Leaves of `torch.nn`, whose one operator follows from constants, weights and input: learned once, then replayed.

A leaf runs as it is the first time that its class is met with these constants, these forms of weights and this form of
input. If one operator came of it (or none: a dropout), it is written down from then on without running anything, which
takes a third of the time. Whatever is not as `torch.nn` made it, such as a replaced forward or a hook before it, runs.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import NamedTuple, cast

import torch
from torch import nn

from edgebudget.graph import Arg, Ref
from edgebudget.tracing.recorder import Recorder
from edgebudget.tracing.routines import picker
from edgebudget.tracing.rules import Kind, Learned, Rule, Tag
from edgebudget.tracing.standing import STANDING, Own, look, stand_in_for

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

_SAME = Kind.SAME
_infers = torch.is_inference_mode_enabled


class Leaf(NamedTuple):
    """A class of leaves: its forward, what that reads of an instance, how many attributes one has, its stand-in."""

    forward: Callable[..., object]
    constants: Callable[[nn.Module], object]
    attributes: int
    stand_in: type[nn.Module]


class Replay(NamedTuple):
    """What a leaf writes down: nothing (`rule` is None), or one operator over input, weights and constants.

    `args` and `inputs` pick from the input and the weights, the former from `constants` behind them as well.
    """

    rule: Rule | None
    constants: tuple[Arg, ...] = ()
    args: Callable[[tuple[Arg, ...]], tuple[Arg, ...]] = tuple
    kwargs: tuple[tuple[str, Arg], ...] = ()
    inputs: Callable[[tuple[int, ...]], tuple[int, ...]] = tuple


_REPLAYS: Learned[Replay | None] = Learned()  # None: more than one operator, or one that has to run


def replay_of(own: Own, signature: int) -> Replay | None:
    """Return what a leaf writes down for an input with this signature; None where it has to run."""
    return _REPLAYS.get((own.makeup, signature))


def _call(module: nn.Module, *args: object, **kwargs: object) -> object:
    own = STANDING.get(id(module))
    if own is None or len(args) != 1 or kwargs:
        return look(module)(*args, **kwargs)
    x, recorder = args[0], own.recorder
    tag: Tag | None = getattr(x, "_edgebudget", None)
    if tag is None or tag[0] is not recorder or tag[2] < 0 or not _infers():
        return look(module)(x)
    replay = replay_of(own, tag[2])
    if replay is None:
        return _learn(own, module, x, tag)
    rule, behind, pick_args, named, pick_inputs = replay
    if rule is None:
        return x
    tensors = (tag[3], *own.refs)
    if rule[0] is _SAME:
        recorder.rewrite(
            cast(torch.Tensor, x), rule[1], own.path, pick_args(tensors + behind), named, pick_inputs(tensors)
        )
        return x
    return recorder.made(recorder.promise(rule, own.path, pick_args(tensors + behind), named, pick_inputs(tensors)))


def _learn(own: Own, module: nn.Module, x: object, tag: Tag) -> object:
    """Run a leaf as it is, and remember what it wrote down."""
    key = (own.makeup, tag.signature)
    before = len(own.recorder.ops)
    out = look(module)(x)
    if key not in _REPLAYS:
        _REPLAYS.remember(key, _learned(own.recorder, before, x, (tag.ref, *own.refs), out))
    return out


def _learned(recorder: Recorder, before: int, x: object, tensors: tuple[Ref, ...], out: object) -> Replay | None:
    """Return how to write down again what a leaf has just recorded, or None where that does not follow from forms."""
    made = recorder.ops[before:]
    if not made:
        return Replay(None) if out is x else None
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
    return Replay(rule, tuple(constants), picker(args), op.kwargs, picker([places[i] for i in op.inputs]))


def _leaf(kind: type[nn.Module]) -> Leaf:
    names: tuple[str, ...] = tuple(getattr(kind, "__constants__", ()))
    attributes = len(vars(nn.Module())) + len(names) + _BESIDE_CONSTANTS.get(kind, 0)
    return Leaf(kind.forward, attrgetter(*names) if names else type, attributes, stand_in_for(kind, _call))


LEAVES: dict[type[nn.Module], Leaf] = {kind: _leaf(kind) for kind in _CLASSES}


def is_plain_leaf(module: nn.Module, leaf: Leaf) -> bool:
    """Whether `module` is as its class made it, so that its forward does what it does in all others."""
    own = module.__dict__
    return len(own) == leaf.attributes and not own["_forward_pre_hooks"] and not own["_forward_hooks"]
