"""What the commonest operators become in core ATen, written down: nothing has to run for them to be known.

Each rule holds for the forms of arguments that it checks for, and says nothing of others. What it says is what running
the operator under the modes of `export_modes` records, which the tests hold every rule against.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import NamedTuple

from edgebudget.eager import is_channels_last, is_contiguous, row_major
from edgebudget.graph import FLOATING, Arg, Ref, refs_in
from edgebudget.tracing.export_modes import Meta
from edgebudget.tracing.templates import Call, Template, is_plain

Shape = tuple[int, ...]
_CONTIGUOUS = (("memory_format", "contiguous_format"),)


class _UnwrittenError(Exception):
    """A rule does not hold for the arguments at hand."""


class _Asked(NamedTuple):
    """One occurrence: its arguments by position, what its tensor arguments are like, and the shapes of its results."""

    args: tuple[Arg, ...]
    metas: tuple[Meta, ...]
    shapes: tuple[Shape, ...]

    def of(self, position: int) -> tuple[Ref, Meta]:
        """Return the tensor at a position."""
        arg = self.args[position] if position < len(self.args) else None
        if not isinstance(arg, Ref):
            raise _UnwrittenError
        return arg, self.metas[arg]

    def plain(self, position: int) -> tuple[Ref, Meta]:
        """Return the tensor at a position, which lies in row-major order and is not empty."""
        ref, meta = self.of(position)
        _only(is_plain(meta))
        return ref, meta

    def in_format(self, position: int) -> tuple[Ref, Meta, bool]:
        """Return the tensor at a position, and whether it lies in channels last and not in row-major order.

        It is not empty and lies in one of both; dimensions of one element may have any stride where that leaves no
        doubt which.
        """
        ref, meta = self.of(position)
        rows, last = is_contiguous(meta.shape, meta.stride), is_channels_last(meta.shape, meta.stride)
        _only(is_plain(meta) or (rows != last and prod(meta.shape) > 0))
        return ref, meta, last and not rows

    def whole(self, position: int) -> int:
        """Return the integer at a position."""
        arg = self.args[position] if position < len(self.args) else None
        if arg.__class__ is not int:
            raise _UnwrittenError
        return arg

    def wholes(self, position: int) -> Shape:
        """Return the integers at a position."""
        arg = self.args[position] if position < len(self.args) else None
        if not isinstance(arg, tuple) or any(item.__class__ is not int for item in arg):
            raise _UnwrittenError
        return arg  # type: ignore[return-value]


class _Writer:
    """The calls of one template, in the making."""

    def __init__(self, metas: Sequence[Meta]) -> None:
        self.metas = list(metas)
        self.calls: list[Call] = []

    def call(
        self,
        target: str,
        args: tuple[Arg, ...],
        *made: Meta,
        kwargs: tuple[tuple[str, Arg], ...] = (),
    ) -> Ref:
        """Write a call down and return the first of what it makes."""
        first = len(self.metas)
        self.metas += made
        outputs = tuple(range(first, first + len(made)))
        self.calls.append(Call(f"aten.{target}", args, kwargs, tuple(refs_in(args)), outputs, made))
        return Ref(first)

    def view(self, x: Ref, shape: Shape) -> Ref:
        """Return `x` in another shape, whose elements must be in one order in memory."""
        meta = self.metas[x]
        return self.call("view.default", (x, shape), Meta(shape, strides_of_view(meta, shape), meta.dtype))

    def reshape(self, x: Ref, shape: Shape) -> Ref:
        """Return `x` in another shape: a view where it can be one, else one of a copy."""
        return self.view(x if can_view(self.metas[x], shape) else self.copy(x), shape)

    def copy(self, x: Ref) -> Ref:
        meta = self.metas[x]
        return self.call("clone.default", (x,), plain(meta.shape, meta.dtype), kwargs=_CONTIGUOUS)

    def permute(self, x: Ref, order: Shape) -> Ref:
        shape, stride, dtype = self.metas[x]
        made = Meta(tuple([shape[d] for d in order]), tuple([stride[d] for d in order]), dtype)
        return self.call("permute.default", (x, order), made)

    def expand(self, x: Ref) -> Ref:
        """Return `x` expanded to the shape it has."""
        meta = self.metas[x]
        return self.call("expand.default", (x, meta.shape), meta)


def written(
    target: str,
    args: tuple[Arg, ...],
    kwargs: tuple[tuple[str, Arg], ...],
    metas: tuple[Meta, ...],
    shapes: Sequence[Shape],
) -> Template | None:
    """Return what the operator `target` becomes, None where no rule holds. Pure.

    `Ref` n among the arguments is a tensor like `metas[n]`; `shapes` are those of its results.
    """
    rule = _RULES.get(target)
    if rule is None or kwargs:
        return None
    writer = _Writer(metas)
    try:
        outputs = rule(_Asked(args, metas, tuple(shapes)), writer)
    except _UnwrittenError:
        return None
    made = tuple([int(output) for output in outputs])
    if [writer.metas[output].shape for output in made] != list(shapes):
        return None
    return Template(len(metas), tuple(writer.calls), made, (), ())


def plain(shape: Shape, dtype: str) -> Meta:
    return Meta(shape, row_major(shape), dtype)


def channels_last(shape: Shape, dtype: str) -> Meta:
    batch, channels, *space = shape
    inner = row_major((batch, *space, channels))
    return Meta(shape, (inner[0], inner[-1], *inner[1:-1]), dtype)


def can_view(meta: Meta, shape: Shape) -> bool:
    """Whether a tensor that is not empty can be seen in another shape without a copy.

    After `computeStride` in aten/src/ATen/TensorUtils.cpp.
    """
    return _seen_as(meta, shape) is not None


def strides_of_view(meta: Meta, shape: Shape) -> Shape:
    """Return the strides of a tensor that is not empty seen in another shape.

    A dimension of one element may have any stride, and has several, by how PyTorch came to it: no rule is made of that.
    """
    if is_plain(meta):
        return row_major(shape)
    dropped = len(meta.shape) - len(shape)
    if dropped > 0 and meta.shape[dropped:] == shape and shape[:1] != (1,):
        return meta.stride[dropped:]
    stride = _seen_as(meta, shape)
    if stride is None or 1 in meta.shape or 1 in shape:
        raise _UnwrittenError
    return stride


def _seen_as(meta: Meta, shape: Shape) -> Shape | None:
    old_shape, old_stride, _ = meta
    stride = [0] * len(shape)
    at = len(shape) - 1
    base, held, seen = old_stride[-1] if old_stride else 1, 1, 1
    for d in range(len(old_shape) - 1, -1, -1):
        held *= old_shape[d]
        if d and (old_shape[d - 1] == 1 or old_stride[d - 1] == held * base):
            continue
        while at >= 0 and (seen < held or shape[at] == 1):
            stride[at] = seen * base
            seen *= shape[at]
            at -= 1
        if seen != held:
            return None
        base, held, seen = old_stride[d - 1], 1, 1
    return tuple(stride) if at == -1 else None


# ---- rules


def _convolution(asked: _Asked, writer: _Writer) -> tuple[Ref, ...]:
    x, image, last = asked.in_format(0)
    weight, kernel = asked.plain(1)
    dimensions = len(kernel.shape) - 2
    bias = asked.args[2] if len(asked.args) > 2 else None
    given = [
        *asked.args[3:],
        *((1,) * dimensions, (0,) * dimensions, (1,) * dimensions, 1)[max(len(asked.args) - 3, 0) :],
    ]
    _only(len(image.shape) == len(kernel.shape) and image.dtype == kernel.dtype in FLOATING)
    _only(bias is None or isinstance(bias, Ref))
    _only(not last or dimensions == 2)
    _only(all(isinstance(item, tuple) and len(item) == dimensions for item in given[:3]))
    stride, padding, dilation, groups = given
    result = (channels_last if last else plain)(asked.shapes[0], image.dtype)
    args = (x, weight, bias, stride, padding, dilation, False, (0,) * dimensions, groups)
    return (writer.call("convolution.default", args, result),)


def _linear(asked: _Asked, writer: _Writer) -> tuple[Ref, ...]:
    x, data = asked.plain(0)
    weight, matrix = asked.plain(1)
    bias = asked.args[2] if len(asked.args) > 2 else None
    _only(len(data.shape) > 1 and len(matrix.shape) == 2 and data.dtype == matrix.dtype in FLOATING)
    outputs, inputs = matrix.shape
    flat = plain((prod(data.shape[:-1]), outputs), data.dtype)
    if len(data.shape) == 2:
        turned = writer.permute(weight, (1, 0))
        if bias is None:
            return (writer.call("mm.default", (x, turned), flat),)
        return (writer.call("addmm.default", (bias, x, turned), flat),)
    rows = (flat.shape[0], inputs)
    if bias is None:
        turned = writer.permute(weight, (1, 0))
        product = writer.call("mm.default", (writer.view(x, rows), turned), flat)
    else:
        viewed = writer.view(x, rows)
        product = writer.call("addmm.default", (bias, viewed, writer.permute(weight, (1, 0))), flat)
    return (writer.view(product, asked.shapes[0]),)


def _matmul(asked: _Asked, writer: _Writer) -> tuple[Ref, ...]:
    """Of batches of the same shape."""
    (a, left), (b, right) = asked.of(0), asked.of(1)
    _only(len(left.shape) > 3 and left.shape[:-2] == right.shape[:-2] and left.dtype == right.dtype in FLOATING)
    _only(a != b)
    *batch, rows, inner = left.shape
    columns, count = right.shape[-1], prod(batch)
    first = writer.reshape(writer.expand(a), (count, rows, inner))
    second = writer.reshape(writer.expand(b), (count, inner, columns))
    product = writer.call("bmm.default", (first, second), plain((count, rows, columns), left.dtype))
    return (writer.view(product, asked.shapes[0]),)


def _layer_norm(asked: _Asked, writer: _Writer) -> tuple[Ref, ...]:
    _, data = asked.of(0)
    _only(len(asked.args) in (4, 5) and isinstance(asked.args[2], Ref) and isinstance(asked.args[3], Ref))
    _only(len({meta.dtype for meta in asked.metas}) == 1 and data.dtype in FLOATING and _becomes_plain(data))
    over = len(asked.wholes(1))
    mean = plain((*data.shape[:-over], *(1,) * over), data.dtype)
    args = (*asked.args[:4], *(asked.args[4:] or (1e-05,)))
    return (writer.call("native_layer_norm.default", args, plain(data.shape, data.dtype), mean, mean),)


def _adaptive_avg_pool2d(asked: _Asked, writer: _Writer) -> tuple[Ref, ...]:
    x, data = asked.plain(0)
    _only(len(data.shape) == 4 and data.dtype in FLOATING)
    result = plain(asked.shapes[0], data.dtype)
    if asked.wholes(1) == (1, 1):
        return (writer.call("mean.dim", (x, (-1, -2), True), result),)
    _only(len(asked.wholes(1)) == 2)
    return (writer.call("_adaptive_avg_pool2d.default", asked.args, result),)


def _cat(asked: _Asked, writer: _Writer) -> tuple[Ref, ...]:
    parts = asked.args[0]
    _only(isinstance(parts, tuple) and all(is_plain(meta) for meta in asked.metas))
    _only(len({(len(meta.shape), meta.dtype) for meta in asked.metas}) == 1)
    return (writer.call("cat.default", asked.args, plain(asked.shapes[0], asked.metas[0].dtype)),)


def _softmax(asked: _Asked, writer: _Writer) -> tuple[Ref, ...]:
    x, data = asked.of(0)
    _only(len(asked.args) == 2 and data.dtype in FLOATING and _becomes_plain(data))
    return (writer.call("_softmax.default", (x, asked.whole(1), False), plain(data.shape, data.dtype)),)


def _permute(asked: _Asked, writer: _Writer) -> tuple[Ref, ...]:
    x, data = asked.of(0)
    order = asked.wholes(1)
    _only(sorted(order) == list(range(len(data.shape))))
    return (writer.permute(x, order),)


def _transpose(asked: _Asked, writer: _Writer) -> tuple[Ref, ...]:
    x, data = asked.of(0)
    order = list(range(len(data.shape)))
    first, second = _dimension(asked.whole(1), len(order)), _dimension(asked.whole(2), len(order))
    _only(first != second)
    order[first], order[second] = second, first
    return (writer.permute(x, tuple(order)),)


def _view(asked: _Asked, writer: _Writer) -> tuple[Ref, ...]:
    x, data = asked.of(0)
    _only(prod(data.shape) > 0)
    made = Meta(asked.shapes[0], strides_of_view(data, asked.shapes[0]), data.dtype)
    return (writer.call("view.default", (x, asked.wholes(1)), made),)


def _reshape(asked: _Asked, writer: _Writer) -> tuple[Ref, ...]:
    x, data = asked.of(0)
    _only(prod(data.shape) > 0 and data.shape != asked.shapes[0] and -1 not in asked.wholes(1))
    return (writer.reshape(x, asked.shapes[0]),)


def _flatten(asked: _Asked, writer: _Writer) -> tuple[Ref, ...]:
    x, data = asked.of(0)
    _only(prod(data.shape) > 0 and data.shape != asked.shapes[0])
    return (writer.reshape(x, asked.shapes[0]),)


def _contiguous(asked: _Asked, writer: _Writer) -> tuple[Ref, ...]:
    x, data = asked.of(0)
    _only(len(asked.args) == 1 and _becomes_plain(data))
    return (x,) if is_plain(data) else (writer.copy(x),)


def _select(asked: _Asked, writer: _Writer) -> tuple[Ref, ...]:
    _, (shape, stride, dtype) = asked.of(0)
    at = _dimension(asked.whole(1), len(shape))
    _only(len(asked.args) == 3)
    made = Meta(shape[:at] + shape[at + 1 :], stride[:at] + stride[at + 1 :], dtype)
    return (writer.call("select.int", asked.args, made),)


def _slice(asked: _Asked, writer: _Writer) -> tuple[Ref, ...]:
    _, (shape, stride, dtype) = asked.of(0)
    at = _dimension(asked.whole(1), len(shape))
    step = asked.whole(4) if len(asked.args) > 4 else 1
    made = Meta(asked.shapes[0], (*stride[:at], stride[at] * step, *stride[at + 1 :]), dtype)
    return (writer.call("slice.Tensor", asked.args, made),)


def _unsqueeze(asked: _Asked, writer: _Writer) -> tuple[Ref, ...]:
    _, (shape, stride, dtype) = asked.of(0)
    at = _dimension(asked.whole(1), len(shape) + 1)
    step = shape[at] * stride[at] if at < len(shape) else 1
    made = Meta((*shape[:at], 1, *shape[at:]), (*stride[:at], step, *stride[at:]), dtype)
    return (writer.call("unsqueeze.default", asked.args, made),)


def _alias(asked: _Asked, writer: _Writer) -> tuple[Ref, ...]:
    return (writer.call("alias.default", asked.args, asked.of(0)[1]),)


def _chunk(asked: _Asked, writer: _Writer) -> tuple[Ref, ...]:
    x, (shape, stride, dtype) = asked.of(0)
    at = _dimension(asked.whole(2), len(shape))
    sizes = tuple([made[at] for made in asked.shapes])
    _only(asked.whole(1) == len(sizes) and min(sizes) > 0)
    metas = [Meta(made, stride, dtype) for made in asked.shapes]
    first = writer.call("split_with_sizes.default", (x, sizes, asked.args[2]), *metas)
    return tuple([Ref(first + i) for i in range(len(sizes))])


def _becomes_plain(meta: Meta) -> bool:
    """Whether what is made contiguous of a tensor lies in row-major order, or is the tensor, which does.

    Not so where it counts as contiguous but has a dimension of one element with another stride, which is kept.
    """
    size = [n for n in meta.shape if n != 1]
    stride = [step for n, step in zip(meta.shape, meta.stride, strict=True) if n != 1]
    return is_plain(meta) or (prod(size) > 0 and tuple(stride) != row_major(tuple(size)))


def _only(holds: bool) -> None:
    if not holds:
        raise _UnwrittenError


def _dimension(number: int, rank: int) -> int:
    _only(-rank <= number < rank)
    return number % rank


_RULES: Mapping[str, Callable[[_Asked, _Writer], tuple[Ref, ...]]] = {
    "aten.conv1d.default": _convolution,
    "aten.conv2d.default": _convolution,
    "aten.conv3d.default": _convolution,
    "aten.linear.default": _linear,
    "aten.matmul.default": _matmul,
    "aten.layer_norm.default": _layer_norm,
    "aten.adaptive_avg_pool2d.default": _adaptive_avg_pool2d,
    "aten.cat.default": _cat,
    "aten.softmax.int": _softmax,
    "aten.permute.default": _permute,
    "aten.transpose.int": _transpose,
    "aten.swapaxes.default": _transpose,
    "aten.view.default": _view,
    "aten.reshape.default": _reshape,
    "aten.flatten.using_ints": _flatten,
    "aten.unflatten.int": _flatten,
    "aten.contiguous.default": _contiguous,
    "aten.select.int": _select,
    "aten.slice.Tensor": _slice,
    "aten.unsqueeze.default": _unsqueeze,
    "aten.alias.default": _alias,
    "aten.chunk.default": _chunk,
}
