"""What PyTorch's CPU kernels allocate inside an operator and free before it returns.

One handler an operator, by name without namespace, overload and trailing underscore. An operator that is known to take
nothing has an entry that says so; one that nobody has looked at stands in the list of unmodelled ones. Read in
ATen/native; each formula is checked against the profiler's allocations (`tests/test_pytorch_scratch.py`).
"""

from collections import defaultdict
from collections.abc import Mapping
from math import ceil, prod

from edgebudget.dtypes.interface import Assignment
from edgebudget.eager import (
    is_channels_last,
    is_contiguous,
    merges,
    suggests_channels_last,
)
from edgebudget.graph import ITEMSIZE, Op, TensorSpec, TracedGraph, once_per_graph
from edgebudget.runtimes._pytorch_attention import attention_bytes, gru_bytes, lstm_bytes, rnn_bytes
from edgebudget.runtimes._pytorch_call import Call, Convolutions, Handler
from edgebudget.runtimes._pytorch_conv import convolution_bytes, transposed_convolution_bytes
from edgebudget.runtimes._pytorch_kernels import CpuKernels, Onednn

_CONVOLUTIONS: defaultdict[CpuKernels, Convolutions] = defaultdict(dict)
_MOST_CONVOLUTIONS = 65_536  # bounds memory in a long-lived process
_FLOAT, _INDEX = ITEMSIZE["float32"], ITEMSIZE["int64"]
_DIVISOR = _INDEX + _FLOAT  # a Python number becomes a tensor of 8 bytes, then one of the operand's type
_VECTORIZED_UPSAMPLE = 128  # UpSampleKernel.cpp, _use_vectorized_kernel_cond_2d: output height plus width


def scratch_bytes(graph: TracedGraph, held: Assignment, kernels: CpuKernels) -> tuple[list[int], tuple[str, ...]]:
    """Return the transient bytes of each operator, and the names of operators whose scratch is not known.

    Operators compute in floating point: options that hold what is floating in the type that was traced, int8 and
    float32 of a float32 model, have the same scratch, which is worked out once.
    """
    if not graph.ops:
        return [], ()
    if held.floating_dtypes != graph.floating_dtypes or len(graph.floating_dtypes) != 1:
        return _scratch(graph, held, kernels)
    known = _as_traced(graph)
    if kernels not in known:
        known[kernels] = _scratch(graph, held, kernels)
    found, unmodelled = known[kernels]
    return found.copy(), unmodelled


@once_per_graph
def _as_traced(graph: TracedGraph) -> dict[CpuKernels, tuple[list[int], tuple[str, ...]]]:
    return {}


def _scratch(graph: TracedGraph, held: Assignment, kernels: CpuKernels) -> tuple[list[int], tuple[str, ...]]:
    call = Call(graph, held, kernels, _CONVOLUTIONS[kernels])
    is_arm = kernels.onednn is Onednn.ACL
    found = [0] * len(graph.ops)
    handled, unknown = _handled(graph)
    unmodelled = dict.fromkeys(unknown)
    for op, handler in handled:
        call.op = op
        found[op[0]] = handler(call)
        if is_arm and handler in _IN_ONEDNN:
            unmodelled[op.name] = None  # what the Arm Compute Library takes beside the reorders
        elif handler in _PRODUCTS and call.dtype(call.input()) in kernels.reduced_types:
            unmodelled[op.name] = None  # oneDNN's buffers of packed blocks, up to some 0.2 MB
    return found, tuple(unmodelled)


@once_per_graph
def _handled(graph: TracedGraph) -> tuple[list[tuple[Op, Handler]], tuple[str, ...]]:
    """Return the operators that may take something, each with its handler, and the names of those without one."""
    handled: list[tuple[Op, Handler]] = []
    unknown: dict[str, None] = {}
    for op in graph.ops:
        handler = _BY_TARGET.get(op[1]) or _resolve(op)
        if handler is None:
            unknown[op.name] = None
        elif handler is not _nothing:
            handled.append((op, handler))
    return handled, tuple(unknown)


def _resolve(op: Op) -> Handler | None:
    """Return the handler of an operator met for the first time; one that only makes views takes nothing."""
    name = op.name.removesuffix("_")
    handler = _HANDLERS.get(name) or (_nothing if name in _TAKE_NOTHING else None)
    if handler is not None:
        _BY_TARGET[op.target] = handler
    return handler


def _nothing(call: Call) -> int:
    return 0


def _convolution(call: Call) -> int:
    """Models repeat convolutions, and estimates models: one is found again by all that its scratch depends on."""
    _, _, _, args, kwargs, inputs, _ = call.op
    x, weight = call.tensors[inputs[0]], call.tensors[inputs[1]]
    key = (x[1], x[2], weight[1], weight[2], len(inputs), args[3:], kwargs, call.dtype(x))
    known = call.convolutions
    nbytes = known.get(key)
    if nbytes is None:
        nbytes = _convolution_bytes(call)
        if len(known) < _MOST_CONVOLUTIONS:
            known[key] = nbytes
    return nbytes


def _convolution_bytes(call: Call) -> int:
    op, x, weight, out = call.op, call.input(0), call.input(1), call.output()
    dims = len(weight.shape) - 2
    padding = op.arg(4, "padding", 0)
    if isinstance(padding, str):  # "same" or "valid"; even kernels, padded apart, are left to the operator inside
        dilation = call.numbers(5, "dilation", 1, dims)
        reach = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        numbers = tuple(r // 2 if padding == "same" else 0 for r in reach)
    else:
        numbers = call.numbers(4, "padding", 0, dims)
    return convolution_bytes(
        x.shape,
        x.stride,
        weight.shape,
        weight.stride,
        op.arg(2, "bias") is not None,
        call.numbers(3, "stride", 1, dims),
        numbers,
        call.numbers(5, "dilation", 1, dims),
        int(str(op.arg(6, "groups", 1))),
        out.shape,
        call.dtype(x),
        call.kernels,
    )


def _transposed_convolution(call: Call) -> int:
    """conv_transpose2d(input, weight, bias, stride, padding, output_padding, groups, dilation)."""
    x, weight = call.input(0), call.input(1)
    dims = len(weight.shape) - 2
    return transposed_convolution_bytes(
        x.shape,
        x.stride,
        weight.shape,
        weight.stride,
        call.op.arg(2, "bias") is not None,
        call.numbers(3, "stride", 1, dims),
        call.numbers(5, "output_padding", 0, dims),
        int(str(call.op.arg(6, "groups", 1))),
        call.output().shape,
        call.itemsize(x),
        call.kernels,
    )


def _batch_norm(call: Call) -> int:
    """A few values a channel, by what the kernel reads (ATen/native/Normalization.cpp).

    With recorded statistics: a scale and a shift, or, where the input has gaps or another order, the variance with
    epsilon added, its root, and one over that. With those of the batch: these two, of channels last a sum besides, and
    for dense inputs a scale and a shift.
    """
    x = call.input()
    rows, last = is_contiguous(x.shape, x.stride), is_channels_last(x.shape, x.stride)
    of_batch, recorded = (4, 2) if rows else (5, 2) if last else (2, 3)
    return (of_batch if call.tensor(3, "running_mean") is None else recorded) * x.shape[1] * _FLOAT


def _instance_norm(call: Call) -> int:
    """Batch norm of the batch as more channels, in row-major order, with its weights repeated.

    Every instance and channel has a mean and a deviation, a scale and a shift.
    """
    x = call.input()
    repeated = sum(call.tensor(position, name) is not None for position, name in ((1, "weight"), (2, "bias")))
    return (4 + repeated) * x.shape[0] * x.shape[1] * _FLOAT + _copy_unless_contiguous(call, x)


def _layer_norm(call: Call) -> int:
    """Mean and reciprocal deviation of every row, after a copy of what is not contiguous."""
    x = call.input()
    normalized = call.op.arg(1, "normalized_shape")
    over = len(normalized) if isinstance(normalized, tuple) else 1
    return 2 * prod(x.shape[:-over]) * call.itemsize(x) + _copy_unless_contiguous(call, x)


def _group_norm(call: Call) -> int:
    """Mean and reciprocal deviation of every group; the channels-last kernel also sums up every channel."""
    x = call.input()
    statistics = 2 * x.shape[0] * int(str(call.op.arg(1, "num_groups"))) * call.itemsize(x)
    if is_contiguous(x.shape, x.stride):
        return statistics
    if is_channels_last(x.shape, x.stride):
        return statistics + 2 * x.shape[0] * x.shape[1] * _FLOAT
    return statistics + call.nbytes(x)


def _rms_norm(call: Call) -> int:
    """The operator in parts: squares, their mean, its reciprocal root; with a weight one more product is alive."""
    x, out = call.input(), call.nbytes(call.output())
    normalized = call.op.arg(1, "normalized_shape")
    rows = prod(x.shape[: -(len(normalized) if isinstance(normalized, tuple) else 1)]) * _FLOAT
    if call.itemsize(x) < _FLOAT:  # in float32 throughout, converted back at the end
        return 2 * x.numel * _FLOAT + 2 * rows - out
    return rows + (out if call.tensor(2, "weight") is not None else rows)


def _max_pool(call: Call) -> int:
    """Over two or three dimensions: the operator with indices, whose int64 indices are dropped."""
    return call.output().numel * _INDEX + _copy_unless_like_suggested(call, call.input())


def _as_suggested(call: Call) -> int:
    """Kernels that read their input in the format that it suggests."""
    return _copy_unless_like_suggested(call, call.input())


def _row_major(call: Call) -> int:
    """Kernels that read all inputs in row-major order."""
    return sum(_copy_unless_contiguous(call, call.tensors[ref]) for ref in call.op.inputs)


def _pool_line(call: Call) -> int:
    """Over one dimension: an image one row high."""
    x = call.input()
    shape, stride = (*x.shape[:-1], 1, x.shape[-1]), (*x.stride[:-1], x.shape[-1] * x.stride[-1], x.stride[-1])
    return _copy_unless_like_suggested(call, x._replace(shape=shape, stride=stride))


def _pad(call: Call) -> int:
    """Only padding by values of the image reads it in the format that it suggests."""
    return _as_suggested(call) if call.op.arg(2, "mode") in ("reflect", "replicate") else 0


def _where(call: Call) -> int:
    """Numbers become tensors of one element."""
    return (3 - len(call.op.inputs)) * call.itemsize(call.output())


def _adaptive_avg_pool2d(call: Call) -> int:
    """Pooling to 1x1 is a mean."""
    if all(n == 1 for n in call.output().shape[-2:]):
        return _mean(call)
    return _copy_unless_like_suggested(call, call.input())


def _adaptive_avg_pool1d(call: Call) -> int:
    return _mean(call) if call.output().shape[-1] == 1 else _pool_line(call)


def _adaptive_avg_pool3d(call: Call) -> int:
    """By a kernel that reads any layout; to a single element it is a mean."""
    return _mean(call) if all(n == 1 for n in call.output().shape[-3:]) else 0


def _logsumexp(call: Call) -> int:
    """The differences from the maximum, and the maximum."""
    return call.nbytes(call.input()) + call.nbytes(call.output())


def _lstm_cell(call: Call) -> int:
    """Eight gates, of the input and of the state, less the two states returned."""
    return 6 * call.nbytes(call.output())


def _gru_cell(call: Call) -> int:
    """Six gates and two candidate states, less the one returned."""
    return 7 * call.nbytes(call.output())


def _mean(call: Call) -> int:
    """A sum, divided by a number; types of 2 bytes are converted to float32 as a whole, and the sums back."""
    x, out = call.input(), call.output()
    return _DIVISOR if call.itemsize(x) >= _FLOAT else max((x.numel + out.numel) * _FLOAT, _DIVISOR)


def _with_number(call: Call) -> int:
    """Arithmetic with a Python number, which becomes a tensor twice: as it is, and in the operand's type."""
    return _INDEX + call.itemsize(call.input()) if len(call.op.inputs) < 2 else 0


def _softmax(call: Call) -> int:
    """softmax(x, dim, dtype): computed on a contiguous input, and on a converted one where a type is given."""
    x, out = call.input(), call.output()
    converted = x.numel * call.itemsize(out) if call.op.arg(2, "dtype") is not None and x.dtype != out.dtype else 0
    return converted or _copy_unless_contiguous(call, x)


def _linear(call: Call) -> int:
    """addmm over rows; an input that cannot be seen as rows is copied to, or goes through bmm (`_product`)."""
    x = call.input()
    return _product(call, x, call.requires_grad(call.input(1)), call.output().shape[:-2])


def _product(call: Call, left: TensorSpec, trains: bool, batch: tuple[int, ...]) -> int:
    """A batch of matrices times one matrix (LinearAlgebra.cpp, `should_fold`): as one large matrix where a view allows
    it, and, after a copy, where the matrix requires a gradient; else by bmm. Gaps within rows are copied away."""
    if len(left.shape) <= 2 or merges(left.shape[:-1], left.stride[:-1]):
        return 0 if 1 in left.stride[-2:] or 1 in left.shape[-2:] else call.nbytes(left)  # BLAS takes no gaps in rows
    return call.nbytes(left) if trains else _batch_copy(call, left, batch)


def _matmul(call: Call) -> int:
    """Operands whose batch dimensions cannot be seen as one are copied for bmm."""
    left, right = call.input(0), call.input(1)
    if len(left.shape) <= 2 and len(right.shape) <= 2:
        return 0
    batch = call.output().shape[: max(len(left.shape), len(right.shape)) - 2]
    if len(left.shape) >= 3 and len(right.shape) <= 2:
        return _product(call, left, call.requires_grad(right), batch)
    if call.dtype(left) in call.kernels.reduced_types and call.kernels.takes(call.dtype(left)):
        return sum(0 if _is_plain(operand) else call.nbytes(operand) for operand in (left, right))
    return sum(_batch_copy(call, operand, batch) for operand in (left, right))


def _is_plain(matrices: TensorSpec) -> bool:
    """Whether oneDNN's matmul reads the matrices as they lie: without gaps, row or column major."""
    *batch, rows, columns = range(len(matrices.shape))
    orders = ((*batch, rows, columns), (*batch, columns, rows))
    return any(
        is_contiguous(tuple(matrices.shape[d] for d in order), tuple(matrices.stride[d] for d in order))
        for order in orders
    )


def _batch_copy(call: Call, operand: TensorSpec, batch: tuple[int, ...]) -> int:
    """Return the bytes of `operand` expanded to `batch`, or 0 where that is a view with one batch dimension."""
    if prod(batch) == 1:
        return 0
    missing = len(batch) + 2 - len(operand.shape)
    if missing < 0 or len(operand.shape) < 2:
        return 0
    shape = (1,) * missing + operand.shape[:-2]
    stride = (0,) * missing + operand.stride[:-2]
    expanded = tuple(0 if n == 1 else s for n, s in zip(shape, stride, strict=True))
    return 0 if merges(batch, expanded) else prod(batch) * prod(operand.shape[-2:]) * call.itemsize(operand)


def _bmm(call: Call) -> int:
    """Matrices that are neither row nor column major are copied one at a time."""
    copied = [
        prod(x.shape[-2:]) * call.itemsize(x)
        for x in (call.input(0), call.input(1))
        if 1 not in x.stride[-2:] and 1 not in x.shape[-2:]
    ]
    return sum(copied)


def _einsum(call: Call) -> int:
    """Two operands become one bmm: dimensions are gathered as batch, rows and sum, and copied if that is no view."""
    equation = str(call.op.arg(0, "equation")).replace(" ", "")
    if call.op.inputs and len(call.op.inputs) != 2:
        return 0
    terms, _, result = equation.partition("->")
    names = terms.split(",")
    left, right = call.input(0), call.input(1)
    if "." in equation or len(names[0]) != len(left.shape) or len(names[1]) != len(right.shape):
        return 0
    extra = 0
    for own, other, tensor in ((names[0], names[1], left), (names[1], names[0], right)):
        shape, stride = dict(zip(own, tensor.shape, strict=True)), dict(zip(own, tensor.stride, strict=True))
        groups = (
            [d for d in result if d in own and d in other],
            [d for d in result if d in own and d not in other],
            [d for d in own if d not in result],
        )
        if not all(merges(tuple(shape[d] for d in g), tuple(stride[d] for d in g)) for g in groups):
            extra += call.nbytes(tensor)
    return extra


def _roll(call: Call) -> int:
    """Rolling over several dimensions rolls over one after the other."""
    dims = call.op.arg(2, "dims")
    return call.nbytes(call.output()) if isinstance(dims, tuple) and len(dims) > 1 else 0


def _upsample_linear(call: Call) -> int:
    """Small outputs are made in channels last; larger ones with two indices and two weights a row and column."""
    return _upsample(call, 2)


def _upsample_nearest(call: Call) -> int:
    return _upsample(call, 1)


def _upsample(call: Call, taps: int) -> int:
    x, out = call.input(), call.output()
    last = is_channels_last(x.shape, x.stride) and not is_contiguous(x.shape, x.stride)
    if (last and x.shape[1] > 3) or sum(out.shape[2:]) <= _VECTORIZED_UPSAMPLE:
        return 0 if last else call.nbytes(x) + call.nbytes(out)
    return taps * (_INDEX + call.itemsize(x)) * sum(out.shape[2:])


def _upsample_linear_generic(call: Call) -> int:
    """Over one or three dimensions: two indices and two weights a place along each."""
    return 2 * (_INDEX + call.itemsize(call.input())) * sum(call.output().shape[2:])


def _upsample_nearest_generic(call: Call) -> int:
    return (_INDEX + call.itemsize(call.input())) * sum(call.output().shape[2:])


def _upsample_cubic(call: Call) -> int:
    return 4 * (_INDEX + call.itemsize(call.input())) * sum(call.output().shape[2:])


def _upsample_antialiased(call: Call) -> int:
    """Columns first, into a tensor of their own, then rows; each with its ranges and weights."""
    x, out = call.input(), call.output()
    width, height = out.shape[-1], out.shape[-2]
    reach = 2 if "bicubic" in call.op.target else 1
    between = prod(x.shape[:-1]) * width * call.itemsize(x)

    def ranges(before: int, after: int) -> int:
        weights = ceil(reach * max(before / after, 1.0)) * 2 + 1
        return after * (4 * _INDEX + weights * _FLOAT)

    return between + max(ranges(x.shape[-1], width), ranges(x.shape[-2], height))


def _im2col(call: Call) -> int:
    return call.nbytes(call.input()) + _copy_unless_contiguous(call, call.input())


def _repeat(call: Call) -> int:
    """Sizes and strides as small tensors."""
    return 4 * len(call.output().shape) * _INDEX


def _index(call: Call) -> int:
    """A mask is turned into positions, eight bytes a dimension for each element kept."""
    masks = [t for t in call.tensors_of(call.op.arg(1, "indices")) if t.dtype in ("bool", "uint8")]
    return sum(t.numel * len(t.shape) * _INDEX for t in masks)


def _copy_unless_contiguous(call: Call, x: TensorSpec) -> int:
    return 0 if is_contiguous(x.shape, x.stride) else call.nbytes(x)


def _copy_unless_like_suggested(call: Call, x: TensorSpec) -> int:
    """What `x.contiguous(x.suggest_memory_format())` copies."""
    if suggests_channels_last(x.shape, x.stride):
        return 0 if is_channels_last(x.shape, x.stride) else call.nbytes(x)
    return _copy_unless_contiguous(call, x)


_HANDLERS: Mapping[str, Handler] = {
    "adaptive_avg_pool1d": _adaptive_avg_pool1d,
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "adaptive_avg_pool3d": _adaptive_avg_pool3d,
    "adaptive_max_pool1d": _pool_line,
    "adaptive_max_pool2d": _as_suggested,
    "add": _with_number,
    "avg_pool1d": _pool_line,
    "avg_pool2d": _as_suggested,
    "avg_pool3d": _row_major,
    "batch_norm": _batch_norm,
    "bmm": _bmm,
    "cdist": _row_major,
    "channel_shuffle": _as_suggested,
    "conv1d": _convolution,
    "conv2d": _convolution,
    "conv3d": _convolution,
    "conv_transpose1d": _transposed_convolution,
    "conv_transpose2d": _transposed_convolution,
    "div": _with_number,
    "einsum": _einsum,
    "eq": _with_number,
    "ge": _with_number,
    "group_norm": _group_norm,
    "gru": gru_bytes,
    "gru_cell": _gru_cell,
    "gt": _with_number,
    "im2col": _im2col,
    "index": _index,
    "index_select": _row_major,
    "instance_norm": _instance_norm,
    "layer_norm": _layer_norm,
    "le": _with_number,
    "linear": _linear,
    "log_softmax": _softmax,
    "logsumexp": _logsumexp,
    "lstm": lstm_bytes,
    "lstm_cell": _lstm_cell,
    "lt": _with_number,
    "matmul": _matmul,
    "max_pool1d": _row_major,
    "max_pool2d": _max_pool,
    "max_pool3d": _max_pool,
    "mean": _mean,
    "mul": _with_number,
    "ne": _with_number,
    "pad": _pad,
    "pixel_shuffle": _as_suggested,
    "pixel_unshuffle": _as_suggested,
    "repeat": _repeat,
    "rms_norm": _rms_norm,
    "rnn_relu": rnn_bytes,
    "rnn_tanh": rnn_bytes,
    "roll": _roll,
    "rsub": _with_number,
    "scaled_dot_product_attention": attention_bytes,
    "softmax": _softmax,
    "sub": _with_number,
    "tril": _row_major,
    "triu": _row_major,
    "upsample_bicubic2d": _upsample_cubic,
    "upsample_bilinear2d": _upsample_linear,
    "upsample_linear1d": _upsample_linear_generic,
    "upsample_nearest1d": _upsample_nearest_generic,
    "upsample_nearest2d": _upsample_nearest,
    "upsample_nearest3d": _upsample_nearest_generic,
    "upsample_trilinear3d": _upsample_linear_generic,
    "where": _where,
    "_upsample_bicubic2d_aa": _upsample_antialiased,
    "_upsample_bilinear2d_aa": _upsample_antialiased,
    "_upsample_nearest_exact2d": _upsample_nearest,
}

_TAKE_NOTHING = frozenset(
    # Views, and operators that only make their output.
    "alias as_strided chunk clone contiguous detach diagonal expand expand_as flatten mH mT movedim narrow numpy_T "
    "permute reshape reshape_as select slice split split_with_sizes squeeze swapaxes swapdims t transpose unbind "
    "unflatten unfold tensor_split unsqueeze view view_as _unsafe_view to lift_fresh "
    # Element by element.
    "abs addcdiv addcmul bitwise_and bitwise_not bitwise_or ceil clamp clamp_max clamp_min copy cos elu erf exp fill "
    "floor gelu glu hardsigmoid hardswish hardtanh leaky_relu log logical_and logical_not logical_or masked_fill "
    "maximum minimum mish neg pow prelu reciprocal relu relu6 rsqrt sigmoid sign silu sin softplus sqrt square "
    "celu hardshrink selu softshrink tanh threshold zero dropout feature_dropout "
    # New tensors, joins and moves.
    "arange cat col2im constant_pad_nd empty empty_like eye flip full full_like linspace new_empty new_full new_ones "
    "new_zeros ones ones_like repeat_interleave stack zeros zeros_like "
    # Reductions and look-ups.
    "all amax amin any argmax argmin cumsum embedding gather grid_sampler linalg_vector_norm max min norm "
    "prod outer scatter std sum topk var var_mean mm addmm baddbmm addbmm".split()
)

_PRODUCTS = frozenset((_bmm, _einsum, _linear, _matmul))
_IN_ONEDNN = _PRODUCTS | {_convolution, _transposed_convolution, lstm_bytes}

_BY_TARGET: dict[str, Handler] = {}
