"""What each ATen operator becomes when a program is exported, decomposed and given to a partitioner.

Composite operators are decomposed, except those a partitioner config asks to keep (`get_original_aten`: linear,
hardswish, max_pool2d, prelu, upsample_bilinear2d); views become copies; identities (dropout, `contiguous` of what is
contiguous) vanish.
"""

from collections.abc import Callable
from math import prod

from edgebudget.graph import FLOATING, Arg, Ref
from edgebudget.runtimes._functional import Node
from edgebudget.runtimes._xnnpack.edge import EdgeOp, Lowering, Shape

Rule = Callable[[Lowering, Node], None]


def _pair(arg: Arg, default: int = 0) -> tuple[int, int]:
    if isinstance(arg, tuple):
        numbers = [int(a) for a in arg if isinstance(a, int)]
        return (numbers[0], numbers[-1]) if numbers else (default, default)
    return (int(arg), int(arg)) if isinstance(arg, int) else (default, default)


def _as(target: str) -> Rule:
    def rule(low: Lowering, node: Node) -> None:
        low.emit(node, target, [low.at(i) for i in node.inputs], node.outputs[0])

    return rule


def _identity(low: Lowering, node: Node) -> None:
    low.g.alias[node.outputs[0]] = low.at(node.inputs[0])


def _dropout(low: Lowering, node: Node) -> None:
    _identity(low, node)


def _contiguous(low: Lowering, node: Node) -> None:
    if low.same_storage(node):
        _identity(low, node)
    else:
        low.emit(node, "clone", [low.at(node.inputs[0])], node.outputs[0])


def _view(low: Lowering, node: Node) -> None:
    source = low.at(node.inputs[0])
    if not low.same_storage(node):  # a reshape that had to copy exports as clone and view
        source = low.step(node, "clone", [source], low.g.shapes[source])
    low.emit(node, "view_copy", [source], node.outputs[0])


def _permute(low: Lowering, node: Node) -> None:
    low.emit(node, "permute_copy", [low.at(node.inputs[0])], node.outputs[0])


def _convolution(low: Lowering, node: Node) -> None:
    """`params`: stride, padding, dilation (2 each), groups, transposed, output padding (2)."""
    name = node.name
    transposed = name.startswith("conv_transpose")
    if name == "convolution":
        transposed = bool(node.arg(6, "transposed", False))
        groups, output_padding = node.arg(8, "groups", 1), node.arg(7, "output_padding", 0)
        dilation = node.arg(5, "dilation", 1)
    elif transposed:
        output_padding, groups = node.arg(5, "output_padding", 0), node.arg(6, "groups", 1)
        dilation = node.arg(7, "dilation", 1)
    else:
        dilation, groups, output_padding = node.arg(5, "dilation", 1), node.arg(6, "groups", 1), 0
    padding = node.arg(4, "padding", 0)
    inputs = [low.ref(node.arg(0, "input")), low.ref(node.arg(1, "weight")), low.ref(node.arg(2, "bias"))]
    if isinstance(padding, str):
        kernel = low.g.shapes[inputs[1]][2:]
        steps = _pair(dilation, 1)
        padding = tuple(d * (k - 1) // 2 for k, d in zip(kernel, steps, strict=False)) if padding == "same" else 0
    params = (
        *_pair(node.arg(3, "stride", 1), 1), *_pair(padding), *_pair(dilation, 1),
        int(groups) if isinstance(groups, int) else 1, int(transposed), *_pair(output_padding),
    )  # fmt: skip
    low.emit(node, "convolution", inputs, node.outputs[0], params)


def _batch_norm(low: Lowering, node: Node) -> None:
    target = "native_batch_norm" if node.arg(5, "training", False) else "batch_norm"
    low.emit(node, target, [low.at(i) for i in node.inputs], node.outputs[0])


def _linear(low: Lowering, node: Node) -> None:
    low.emit(node, "linear", [low.at(i) for i in node.inputs], node.outputs[0])


def _addmm(low: Lowering, node: Node) -> None:
    bias, left, right = (low.at(i) for i in node.inputs[:3])
    low.emit(node, "addmm", [left, right, bias], node.outputs[0])


def _silu(low: Lowering, node: Node) -> None:
    source = low.at(node.inputs[0])
    gate = low.step(node, "sigmoid", [source], low.g.shapes[source])
    low.emit(node, "mul", [source, gate], node.outputs[0])


def _scalar(low: Lowering, number: Arg, beside: int) -> int:
    """Return the constant that a Python number becomes (exir/passes/scalar_to_tensor_pass.py).

    A whole one becomes an integer. Where the value `beside` it is floating-point, a portable operator makes the integer
    so, too, whenever the program runs (exir/passes/remove_mixed_type_operators.py).
    """
    if isinstance(number, int) and not isinstance(number, Ref) and low.g.dtypes[beside] in FLOATING:
        low.g.casts = True
    value = low.g.add((), "float32")
    low.g.constant[value] = True
    return value


def _binary(low: Lowering, node: Node) -> None:
    inputs = [low.at(i) for i in node.inputs]
    if len(inputs) == 1:
        inputs.append(_scalar(low, node.arg(1, "other"), inputs[0]))
    low.emit(node, "sub" if node.name == "rsub" else node.name, inputs, node.outputs[0])


def _addcmul(low: Lowering, node: Node) -> None:
    """`addcmul(a, b, c)`: a product, which a number multiplies that is the whole 1 unless it is given, and a sum."""
    base, left, right = (low.at(i) for i in node.inputs[:3])
    low.g.casts |= isinstance(node.arg(3, "value", 1), int)
    product = low.step(node, "mul", [left, right], low.g.shapes[node.outputs[0]])
    low.emit(node, "add", [base, product], node.outputs[0])


def _is_square(exponent: Arg) -> int:
    """Whether XNNPACK takes a power: the whole number 2, not 2.0."""
    return int(isinstance(exponent, int) and not isinstance(exponent, Ref) and exponent == 2)


def _pow(low: Lowering, node: Node) -> None:
    """`params`: whether it is the square that XNNPACK takes."""
    square = _is_square(node.arg(1, "exponent"))
    low.emit(node, "pow", [low.at(i) for i in node.inputs], node.outputs[0], (square,))


def _vector_norm(low: Lowering, node: Node) -> None:
    """Powers, their sum, and its root."""
    source, output = low.at(node.inputs[0]), node.outputs[0]
    powers = low.step(node, "pow", [source], low.g.shapes[source], (_is_square(node.arg(1, "ord", 2)),))
    total = low.step(node, "sum", [powers], low.g.shapes[output])
    low.emit(node, "pow", [total], output, (0,))


def _hardsigmoid(low: Lowering, node: Node) -> None:
    source = low.at(node.inputs[0])
    shape = low.g.shapes[source]
    shifted = low.step(node, "add", [source, _scalar(low, 3, source)], shape)
    low_clamped = low.step(node, "clamp", [shifted], shape)
    clamped = low.step(node, "clamp", [low_clamped], shape)
    low.emit(node, "div", [clamped, _scalar(low, 6, source)], node.outputs[0])


def _softmax(low: Lowering, node: Node) -> None:
    dim = node.arg(1, "dim", -1)
    rank = len(low.g.shapes[node.outputs[0]])
    last = isinstance(dim, int) and dim % max(rank, 1) == rank - 1
    target = "_softmax" if node.name.endswith("softmax") and not node.name.startswith(("log", "_log")) else node.name
    low.emit(node, target, [low.at(node.inputs[0])], node.outputs[0], (int(last),))


def _max_pool(low: Lowering, node: Node) -> None:
    """`params`: kernel, stride, padding, dilation (2 each)."""
    kernel = _pair(node.arg(1, "kernel_size", 1), 1)
    given = node.arg(2, "stride", ())
    stride = _pair(given, 1) if given != () and given is not None else kernel
    params = (*kernel, *stride, *_pair(node.arg(3, "padding", 0)), *_pair(node.arg(4, "dilation", 1), 1))
    low.emit(node, "max_pool2d", [low.at(node.inputs[0])], node.outputs[0], params)


def _avg_pool(low: Lowering, node: Node) -> None:
    """`params`: kernel, stride, padding (2 each), whether XNNPACK's form of it fits."""
    kernel = _pair(node.arg(1, "kernel_size", 1), 1)
    given = node.arg(2, "stride", ())
    stride = _pair(given, 1) if given != () and given is not None else kernel
    padding = _pair(node.arg(3, "padding", 0))
    divisor = node.arg(6, "divisor_override", None)
    fits = (
        not node.arg(4, "ceil_mode", False)
        and not (node.arg(5, "count_include_pad", True) and any(padding))
        and (divisor is None or divisor == kernel[0] * kernel[1])
    )
    params = (*kernel, *stride, *padding, int(fits))
    low.emit(node, "avg_pool2d", [low.at(node.inputs[0])], node.outputs[0], params)


def _adaptive_avg_pool(low: Lowering, node: Node) -> None:
    source = low.at(node.inputs[0])
    shape, result = low.g.shapes[source], low.g.shapes[node.outputs[0]]
    if len(shape) == 4 and result[2:] == (1, 1):
        low.emit(node, "mean", [source], node.outputs[0], (1,))
    else:
        low.emit(node, "_adaptive_avg_pool2d", [source], node.outputs[0])


def _mean(low: Lowering, node: Node) -> None:
    """`params`: whether it is the global pooling XNNPACK takes (rank 4, both inner axes, kept)."""
    source = low.at(node.inputs[0])
    dims = node.arg(1, "dim", ())
    axes = {d % 4 for d in dims if isinstance(d, int)} if isinstance(dims, tuple) else set()
    pooling = len(low.g.shapes[source]) == 4 and axes == {2, 3} and bool(node.arg(2, "keepdim", False))
    low.emit(node, "mean", [source], node.outputs[0], (int(pooling),))


def _cat(low: Lowering, node: Node) -> None:
    low.emit(node, "cat", [low.at(i) for i in node.inputs], node.outputs[0])


def _stack(low: Lowering, node: Node) -> None:
    parts = []
    for i in node.inputs:
        source = low.at(i)
        shape = low.g.shapes[source]
        parts.append(low.step(node, "unsqueeze_copy", [source], (1, *shape)))
    low.emit(node, "cat", parts, node.outputs[0])


def _split(low: Lowering, node: Node) -> None:
    """One operator; of a value that was written in place, a slice a part, since its views are made anew one by one."""
    if node.inputs[0] in low.mutated:
        for output in node.outputs:
            low.emit(node, "slice_copy", [low.at(node.inputs[0])], output, (1,))
        return
    low.g.ops.append(EdgeOp("split_with_sizes_copy", [low.at(node.inputs[0])], list(node.outputs), (), node))


def _unbind(low: Lowering, node: Node) -> None:
    """A slice and a squeeze for each part."""
    source = low.at(node.inputs[0])
    shape = low.g.shapes[source]
    dim = node.arg(1, "dim", 0)
    axis = dim % len(shape) if isinstance(dim, int) else 0
    for output in node.outputs:
        part = low.step(node, "slice_copy", [source], (*shape[:axis], 1, *shape[axis + 1 :]), (1,))
        low.emit(node, "squeeze_copy", [part], output)


def _slice(low: Lowering, node: Node) -> None:
    source, result = low.at(node.inputs[0]), node.outputs[0]
    if low.g.shapes[source] == low.g.shapes[result]:
        low.g.alias[result] = source
        return
    step = node.arg(4, "step", 1)
    low.emit(node, "slice_copy", [source], result, (step if isinstance(step, int) else 1,))


def _unsqueeze(low: Lowering, node: Node) -> None:
    dim = node.arg(1, "dim", 0)
    rank = len(low.g.shapes[node.inputs[0]])
    trailing = dim in (-1, rank)
    low.emit(node, "unsqueeze_copy", [low.at(node.inputs[0])], node.outputs[0], (int(trailing),))


def _pad(low: Lowering, node: Node) -> None:
    padding = node.arg(1, "pad", ())
    amounts = tuple(int(p) for p in padding if isinstance(p, int)) if isinstance(padding, tuple) else ()
    if not any(amounts):
        low.g.alias[node.outputs[0]] = low.at(node.inputs[0])
        return
    low.emit(node, "constant_pad_nd", [low.at(node.inputs[0])], node.outputs[0], amounts)


def _matmul(low: Lowering, node: Node) -> None:
    left, right = low.at(node.inputs[0]), low.at(node.inputs[1])
    a, b, out = low.g.shapes[left], low.g.shapes[right], low.g.shapes[node.outputs[0]]
    if len(a) == 2 and len(b) == 2:
        low.emit(node, "mm", [left, right], node.outputs[0])
    elif len(a) >= 3 and len(b) == 2:
        rows = prod(a[:-1])
        flat = low.step(node, "view_copy", [left], (rows, a[-1]))
        product = low.step(node, "mm", [flat, right], (rows, b[-1]))
        low.emit(node, "view_copy", [product], node.outputs[0])
    elif len(a) >= 2 and len(b) >= 2:
        low.emit(node, "view_copy", [_batched(low, node, left, right, out[:-2])], node.outputs[0])
    else:
        low.emit(node, "mm", [left, right], node.outputs[0])


def _batched(low: Lowering, node: Node, left: int, right: int, batch: Shape) -> int:
    """Emit what `matmul` of batched operands decomposes to: expand, reshape, bmm; return the product, batch folded."""
    a, b = low.g.shapes[left], low.g.shapes[right]
    count = prod(batch)
    left = low.step(node, "expand_copy", [left], (*batch, *a[-2:]))
    left = low.step(node, "view_copy", [left], (count, *a[-2:]))
    right = low.step(node, "expand_copy", [right], (*batch, *b[-2:]))
    right = low.step(node, "view_copy", [right], (count, *b[-2:]))
    return low.step(node, "bmm", [left, right], (count, a[-2], b[-1]))


def _attention(low: Lowering, node: Node) -> None:
    """`scaled_dot_product_attention`: PyTorch's math form, with its guard for rows that are masked throughout."""
    query, key, value = (low.at(i) for i in node.inputs[:3])
    q, k, v = low.g.shapes[query], low.g.shapes[key], low.g.shapes[value]
    batch, scores = q[:-2], (*q[:-2], q[-2], k[-2])
    scaled = low.step(node, "mul_scalar", [query], q)
    turned = low.step(node, "permute_copy", [key], (*k[:-2], k[-1], k[-2]))
    turned = low.step(node, "mul_scalar", [turned], (*k[:-2], k[-1], k[-2]))
    weights = low.step(node, "view_copy", [_batched(low, node, scaled, turned, batch)], scores)
    mask = low.ref(node.arg(3, "attn_mask"))
    if mask >= 0:
        weights = low.step(node, "add", [weights, mask], scores)
    soft = low.step(node, "_softmax", [weights], scores, (1,))
    dtype = low.g.dtypes[query]
    dead = low.emit(node, "eq", [weights], low.g.add(scores, "bool"))
    dead = low.emit(node, "logical_not", [dead], low.g.add(scores, "bool"))
    dead = low.emit(node, "any", [dead], low.g.add((*scores[:-1], 1), "bool"))
    dead = low.emit(node, "logical_not", [dead], low.g.add((*scores[:-1], 1), "bool"))
    zeros = low.emit(node, "full_like", [soft], low.g.add(scores, dtype))
    soft = low.step(node, "where", [zeros, soft, dead], scores)
    result = low.step(node, "view_copy", [_batched(low, node, soft, value, batch)], (*batch, q[-2], v[-1]))
    if len(q) == 4:  # the fused kernel's memory layout, kept by permuting there and back
        there = low.step(node, "permute_copy", [result], (q[2], q[0], q[1], v[-1]))
        result = low.step(node, "permute_copy", [there], low.g.shapes[result])
    low.g.alias[node.outputs[0]] = result


def _normalization(low: Lowering, node: Node) -> None:
    """`native_layer_norm` and its like also return mean and reciprocal deviation, which the arena holds."""
    source, output = low.at(node.inputs[0]), node.outputs[0]
    shape = low.g.shapes[output]
    inner = node.arg(1, "normalized_shape", ())
    if node.name == "layer_norm" and isinstance(inner, tuple):
        statistics: Shape = (*shape[: len(shape) - len(inner)], *(1 for _ in inner))
    else:
        groups = node.arg(1, "num_groups", 1)
        statistics = (shape[0], groups if isinstance(groups, int) else 1)
    extra = [low.g.add(statistics, low.g.dtypes[source]) for _ in range(2)]
    inputs = [low.at(v) for v in node.inputs]
    low.g.ops.append(EdgeOp("native_" + node.name, inputs, [output, *extra], (), node))


def _full(low: Lowering, node: Node) -> None:
    """`new_zeros` and its like export as `full`, which reads nothing."""
    low.emit(node, "full", [], node.outputs[0])


def _roll(low: Lowering, node: Node) -> None:
    """`roll`: one index_select an axis."""
    source = low.at(node.inputs[0])
    shifts = node.arg(1, "shifts", ())
    count = len(shifts) if isinstance(shifts, tuple) else 1
    shape = low.g.shapes[source]
    for _ in range(count - 1):
        source = low.step(node, "index_select", [source], shape)
    low.emit(node, "index_select", [source], node.outputs[0])


def _permuting(low: Lowering, node: Node) -> None:
    """Channel and pixel shuffles: view, permute, view."""
    source = low.at(node.inputs[0])
    shape = low.g.shapes[source]
    opened = low.step(node, "view_copy", [source], (1, *shape))
    turned = low.step(node, "permute_copy", [opened], (1, *shape))
    low.emit(node, "view_copy", [turned], node.outputs[0])


_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d", "conv_transpose2d")
_IDENTITIES = ("detach", "lift_fresh", "feature_dropout", "alpha_dropout", "to", "_to_copy")
_VIEWS = ("view", "reshape", "flatten", "unflatten", "_unsafe_view", "view_as", "reshape_as")
_UNARY = (
    "relu", "sigmoid", "tanh", "gelu", "hardswish", "leaky_relu", "abs", "ceil", "floor", "exp", "log", "neg", "sqrt",
    "rsqrt", "sin", "cos", "hardtanh", "clamp", "prelu",
)  # fmt: skip

# What runs in the portable kernels with no scratch of its own: its outputs are planned in the arena, that is all.
PORTABLE = frozenset({
    "layer_norm", "native_layer_norm", "group_norm", "native_group_norm", "embedding", "index", "gather", "where",
    "eq", "ne", "lt", "gt", "le", "ge", "logical_not", "logical_and", "logical_or", "masked_fill", "arange", "full",
    "zero", "zeros", "ones", "new_zeros", "new_ones", "zeros_like", "ones_like", "full_like", "fill", "copy", "select",
    "squeeze", "expand", "repeat", "view_scatter", "cumsum", "sum", "amax", "amin", "argmax", "argmin", "any",
    "log_softmax", "_log_softmax", "elu", "erf", "index_select", "split_with_sizes_copy", "scalar_tensor",
    "upsample_nearest2d", "reciprocal", "var", "bitwise_not", "tril", "topk", "flip", "round",
})  # fmt: skip

DECOMPOSITIONS: dict[str, Rule] = {
    **dict.fromkeys(_IDENTITIES, _identity),
    **dict.fromkeys(_VIEWS, _view),
    **{name: _as(name) for name in (*_UNARY, "bmm", "mm", "maximum", "minimum")},
    **dict.fromkeys(("dropout", "native_dropout"), _dropout),
    **dict.fromkeys(("contiguous", "clone"), _contiguous),
    **dict.fromkeys(("permute", "transpose", "t", "movedim", "swapaxes", "numpy_T", "mT"), _permute),
    **dict.fromkeys(_CONVOLUTIONS, _convolution),
    "batch_norm": _batch_norm,
    "linear": _linear,
    "addmm": _addmm,
    **dict.fromkeys(("add", "sub", "rsub", "mul", "div"), _binary),
    "relu6": _as("hardtanh"),
    "silu": _silu,
    "hardsigmoid": _hardsigmoid,
    "addcmul": _addcmul,
    "pow": _pow,
    "square": _as("mul"),
    **dict.fromkeys(("linalg_vector_norm", "norm"), _vector_norm),
    **dict.fromkeys(("clamp_min", "clamp_max"), _as("clamp")),
    "expand_as": _as("expand_copy"),
    **dict.fromkeys(("softmax", "_softmax", "log_softmax"), _softmax),
    "max_pool2d": _max_pool,
    "avg_pool2d": _avg_pool,
    "adaptive_avg_pool2d": _adaptive_avg_pool,
    "mean": _mean,
    **dict.fromkeys(("cat", "concat", "concatenate"), _cat),
    "stack": _stack,
    **dict.fromkeys(("chunk", "split", "split_with_sizes", "tensor_split"), _split),
    "unbind": _unbind,
    **dict.fromkeys(("slice", "narrow"), _slice),
    "alias": _as("alias_copy"),
    "select": _as("select_copy"),
    "squeeze": _as("squeeze_copy"),
    "unsqueeze": _unsqueeze,
    "expand": _as("expand_copy"),
    **dict.fromkeys(("pad", "constant_pad_nd"), _pad),
    "matmul": _matmul,
    "scaled_dot_product_attention": _attention,
    "roll": _roll,
    **dict.fromkeys(("new_zeros", "new_ones", "new_full", "new_empty"), _full),
    **dict.fromkeys(("layer_norm", "group_norm"), _normalization),
    "upsample_bilinear2d": _as("upsample_bilinear2d"),
    "upsample_nearest2d": _as("upsample_nearest2d"),
    **dict.fromkeys(("pixel_shuffle", "pixel_unshuffle", "channel_shuffle"), _permuting),
}


def _pads_with_data(low: Lowering, node: Node) -> bool:
    return node.arg(2, "mode", "constant") != "constant"


def _attends_otherwise(low: Lowering, node: Node) -> bool:
    """Whether the mask says yes or no, or several query heads share a key."""
    mask = low.ref(node.arg(3, "attn_mask"))
    query, key = (low.g.shapes[low.at(i)] for i in node.inputs[:2])
    return query[:-2] != key[:-2] or (mask >= 0 and low.g.dtypes[mask] == "bool")


EXCEPTIONS: dict[str, Callable[[Lowering, Node], bool]] = {
    "pad": _pads_with_data,
    "scaled_dot_product_attention": _attends_otherwise,
}
"""Where the rule of an operator does not hold."""
