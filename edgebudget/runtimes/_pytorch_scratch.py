"""What PyTorch's CPU kernels allocate inside an operator and free before it returns.

One handler an operator, by name without namespace, overload and trailing underscore. An operator that is known to take
nothing has an entry that says so; one that nobody has looked at stands in the list of unmodelled ones.
"""

from collections.abc import Callable
from typing import TypeAlias, cast

from edgebudget.dtypes.interface import Assignment
from edgebudget.graph import FLOATING, ITEMSIZE, Op, Ref, TensorSpec, TracedGraph
from edgebudget.runtimes._pytorch_conv import convolution_bytes
from edgebudget.runtimes._pytorch_kernels import CpuKernels

Handler: TypeAlias = Callable[["Call"], int]


class Call:
    """One operator as its handler sees it."""

    __slots__ = ("_graph", "_held", "kernels", "op")

    def __init__(self, graph: TracedGraph, held: Assignment, kernels: CpuKernels) -> None:
        self._graph = graph
        self._held = held
        self.kernels = kernels
        self.op: Op = graph.ops[0]

    def tensor(self, position: int, name: str = "") -> TensorSpec | None:
        """Return the tensor given at `position` or by `name`, if there is one."""
        given = self.op.arg(position, name)
        return self._graph.tensors[given] if isinstance(given, Ref) else None

    def input(self, position: int = 0) -> TensorSpec:
        return self._graph.tensors[self.op.inputs[position]]

    def output(self, position: int = 0) -> TensorSpec:
        return self._graph.tensors[self.op.outputs[position]]

    def itemsize(self, tensor: TensorSpec) -> int:
        """Bytes an element of `tensor` takes under the dtype option."""
        return ITEMSIZE[self._held.held[tensor.storage].dtype]


def _nothing(call: Call) -> int:
    return 0


def _convolution(call: Call) -> int:
    op, x, weight, out = call.op, call.input(0), call.input(1), call.output()
    dims = len(weight.shape) - 2
    return convolution_bytes(
        x.shape,
        is_channels_last(x),
        is_contiguous(x),
        weight.shape,
        op.arg(2, "bias") is not None,
        _expand(op.arg(3, "stride", 1), dims),
        _expand(op.arg(4, "padding", 0), dims),
        _expand(op.arg(5, "dilation", 1), dims),
        cast(int, op.arg(6, "groups", 1)),
        out.shape,
        call.itemsize(x),
        call.kernels,
    )


def _batch_norm(call: Call) -> int:
    """Two rows of one value a channel: native_batch_norm's save_mean and save_invstd, empty in evaluation but sized."""
    return 2 * call.input().shape[1] * 4


def _max_pool2d(call: Call) -> int:
    """max_pool2d runs max_pool2d_with_indices and drops its int64 indices."""
    return call.output().numel * ITEMSIZE["int64"]


_HANDLERS: dict[str, Handler] = {
    "conv2d": _convolution,
    "batch_norm": _batch_norm,
    "max_pool2d": _max_pool2d,
}
_TAKE_NOTHING = frozenset(
    "relu relu6 hardtanh hardswish hardsigmoid silu gelu sigmoid tanh add mul sub div view reshape flatten permute "
    "transpose t unsqueeze squeeze expand linear adaptive_avg_pool2d dropout cat mean slice select chunk split".split()
)


def scratch_bytes(graph: TracedGraph, held: Assignment, kernels: CpuKernels) -> tuple[list[int], tuple[str, ...]]:
    """Return the transient bytes of each operator, and the names of operators whose scratch is not known."""
    if not graph.ops:
        return [], ()
    call = Call(graph, held, kernels)
    found: list[int] = []
    unmodelled: dict[str, None] = {}
    for op in graph.ops:
        handler = _BY_TARGET.get(op.target) or _resolve(op)
        if handler is None:
            unmodelled[op.name] = None
            found.append(0)
        elif handler is _nothing:
            found.append(0)
        else:
            call.op = op
            found.append(handler(call))
    return found, tuple(unmodelled)


_BY_TARGET: dict[str, Handler] = {}


def _resolve(op: Op) -> Handler | None:
    name = op.name
    if name.endswith("_") and not name.endswith("__"):
        name = name[:-1]
    handler = _HANDLERS.get(name) or (_nothing if name in _TAKE_NOTHING else None)
    if handler is not None:
        _BY_TARGET[op.target] = handler
    return handler


def is_contiguous(tensor: TensorSpec) -> bool:
    """Whether elements lie in row-major order, dimensions of size 1 aside."""
    return _is_dense(tensor, range(len(tensor.shape) - 1, -1, -1))


def is_channels_last(tensor: TensorSpec) -> bool:
    """Whether the channels (dimension 1) vary fastest, and they are not contiguous all the same."""
    dims = len(tensor.shape)
    return dims >= 4 and _is_dense(tensor, (1, *range(dims - 1, 1, -1), 0)) and not is_contiguous(tensor)


def _is_dense(tensor: TensorSpec, order: "range | tuple[int, ...]") -> bool:
    expected = 1
    for d in order:
        if tensor.shape[d] != 1:
            if tensor.stride[d] != expected:
                return False
            expected *= tensor.shape[d]
    return True


def _expand(value: object, dims: int) -> tuple[int, ...]:
    if isinstance(value, tuple):
        return cast(tuple[int, ...], value * dims if len(value) == 1 else value)
    return (cast(int, value),) * dims
