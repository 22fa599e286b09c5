"""What one operator becomes in core ATen: learned from one occurrence, held for others that differ in sizes only."""

from math import prod
from typing import NamedTuple

from edgebudget.eager import row_major
from edgebudget.graph import Arg, Op
from edgebudget.tracing.export_modes import Meta


class Call(NamedTuple):
    """One core ATen operator; `Ref` and the outputs are numbers of values."""

    target: str
    args: tuple[Arg, ...]
    kwargs: tuple[tuple[str, Arg], ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    metas: tuple[Meta, ...]
    module: str = ""


class Template(NamedTuple):
    """What an operator becomes: values 0 .. n-1 are its tensor arguments, the next are made by `calls` in order.

    `outputs` are the values of its results, `rebound` the new values of arguments it wrote to. `constants` are tensors
    that a decomposition made from Python data.
    """

    arguments: int
    calls: tuple[Call, ...]
    outputs: tuple[int, ...]
    rebound: tuple[tuple[int, int], ...]
    constants: tuple[tuple[int, Meta], ...]


_BLIND = frozenset({
    "conv1d", "conv2d", "conv3d", "batch_norm", "cat", "add", "sub", "mul", "div", "relu", "silu", "hardswish",
    "hardsigmoid", "hardtanh", "relu6", "sigmoid", "tanh", "gelu", "clamp", "clamp_min", "exp", "max_pool2d",
})  # fmt: skip
"""Operators whose decomposition asks for ranks and types, never for sizes (torch/_decomp/decompositions.py)."""
_KEEPING = _BLIND - {"silu", "hardswish", "hardsigmoid"} | {
    "linear", "layer_norm", "reshape", "view", "flatten", "adaptive_avg_pool2d", "matmul", "permute", "transpose",
    "select", "slice", "unsqueeze", "einsum", "index", "contiguous", "avg_pool2d", "chunk", "roll", "softmax", "mean",
    "dropout", "swapaxes", "alias", "clone", "expand", "expand_as", "unflatten", "squeeze", "reshape_as", "unbind",
    "split_with_sizes", "stack", "repeat", "new_zeros", "zero", "fill", "copy", "eq", "ne", "masked_fill",
}  # fmt: skip
"""Operators that become the same in half precision: none of them computes in float32 in between, as padding does that
reflects."""
_EMPTY = (0,)


def typed(arg: object) -> object:
    """Return a key in which 1, 1.0, True and the first tensor differ."""
    if isinstance(arg, tuple):
        return tuple([typed(item) for item in arg])
    return arg if arg is None or isinstance(arg, str) else (arg, arg.__class__)


def form_of(target: str, constants: tuple[object, ...], arguments: tuple[Meta, ...]) -> tuple[object, ...] | None:
    """Return what two occurrences of an operator share where their templates differ in sizes only.

    None where sizes may decide what it becomes: it is not one of those known to be blind to them, or its arguments do
    not all lie in row-major order without empty dimensions.
    """
    if target.split(".")[1].removesuffix("_") not in _BLIND or not all(is_plain(meta) for meta in arguments):
        return None
    return target, constants, tuple([(len(meta.shape), meta.dtype) for meta in arguments])


def resized(template: Template, result: tuple[int, ...]) -> Template | None:
    """Return `template`, learned from another occurrence of the same form, where the result has the shape `result`.

    None where a value within it is neither shaped like the result nor empty: how it is shaped was not learned.
    """
    learned = {n: meta for call in template.calls for n, meta in zip(call.outputs, call.metas, strict=True)}
    if template.constants or len(template.outputs) != 1 or template.outputs[0] not in learned:
        return None
    was = learned[template.outputs[0]].shape
    if not all(meta.shape == _EMPTY or (meta.shape == was and is_plain(meta)) for meta in learned.values()):
        return None
    stride = row_major(result)
    calls = [
        call._replace(
            metas=tuple([meta if meta.shape == _EMPTY else Meta(result, stride, meta.dtype) for meta in call.metas])
        )
        for call in template.calls
    ]
    return template._replace(calls=tuple(calls))


def keeps_type(op: Op) -> bool:
    """Return whether `op` becomes the same in another floating-point type, but for the type."""
    name = op.name.removesuffix("_")
    return name in _KEEPING or (name == "pad" and op.arg(2, "mode", "constant") == "constant")


def retyped(template: Template, old: str, new: str) -> Template | None:
    """Return `template` with the floating-point type `new` in the place of `old`; None where it holds constants."""
    if template.constants:
        return None
    calls = [
        call._replace(
            args=_renamed(call.args, old, new),
            kwargs=tuple([(name, new if arg == old else arg) for name, arg in call.kwargs]),
            metas=retyped_metas(call.metas, old, new),
        )
        for call in template.calls
    ]
    return template._replace(calls=tuple(calls))


def _renamed(args: tuple[Arg, ...], old: str, new: str) -> tuple[Arg, ...]:
    return tuple([new if arg == old else arg for arg in args]) if old in args else args


def retyped_metas(metas: tuple[Meta, ...], old: str, new: str) -> tuple[Meta, ...]:
    """Return `metas` with the type `new` where it was `old`."""
    return tuple([Meta(meta.shape, meta.stride, new) if meta.dtype == old else meta for meta in metas])


def is_plain(meta: Meta) -> bool:
    return meta.stride == row_major(meta.shape) and prod(meta.shape) > 0
