"""The modes under which PyTorch's export decomposes a program, with a recorder in the place of its proxy tracer."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple, cast

import torch
from torch._decomp import _core_aten_decompositions_post_autograd, get_decompositions
from torch._dispatch.python import enable_python_dispatcher
from torch._export.utils import _special_op_to_preserve_cia
from torch._prims_common import make_contiguous_strides_for
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, in_kernel_invocation_manager
from torch._subclasses.functional_tensor import FunctionalTensor, FunctionalTensorMode
from torch.export.exported_program import _override_composite_implicit_decomp
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

Tensor = torch.Tensor
Operator = torch._ops.OpOverload
aten = torch.ops.aten

_METADATA = {aten.size.default, aten.stride.default, aten.storage_offset.default, aten.numel.default, aten.dim.default}
_KEPT_WHOLE = {aten.upsample_bilinear2d.vec, aten.upsample_nearest2d.vec}
"""Composite operators that `torch.export.default_decompositions` leaves alone (torch/export/decomp_utils.py)."""

_TRAINABLE = {aten._embedding_bag_forward_only.default: aten._embedding_bag.default}
"""Operators that stand for another where no parameter requires a gradient; to export, parameters do."""

_CPU = torch.device("cpu")
_FAKE_TENSOR_LOG = logging.getLogger("torch._subclasses.fake_tensor")


class Meta(NamedTuple):
    """What decompositions can see of a tensor."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str


class _Known:
    """What FunctionalTensorMode asks a proxy tracer for: the proxy of a tensor, and its node, which is none here."""

    node = None

    @property
    def proxy(self) -> "_Known":
        return self


class _Tracker(dict[Tensor, _Known]):
    """Stands where FunctionalTensorMode expects a proxy tracer and its `tensor_tracker`: it knows every tensor."""

    @property
    def tensor_tracker(self) -> "_Tracker":
        return self

    def __missing__(self, tensor: Tensor) -> _Known:
        return _Known()


class Recorder(TorchDispatchMode):
    """Applies decompositions and writes down what is left, in the place that export's proxy mode has."""

    tracer = _Tracker()

    def __init__(self, table: Mapping[Operator, Callable[..., object]], fake: FakeTensorMode) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._mode_key = torch._C._TorchDispatchModeKey.PROXY
        self._table = table
        self._fake = fake
        self._depth = 0
        self.calls: list[tuple[Operator, tuple[object, ...], Mapping[str, object], tuple[Tensor, ...]]] = []
        self.same_as: dict[int, Tensor] = {}  # the id of a tensor that stands for another, to that other
        self.alive: list[object] = []  # keeps ids unique

    def __torch_dispatch__(
        self,
        func: Operator,
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        func = _TRAINABLE.get(func, func)
        if self._depth and func in (aten.detach.default, aten.lift_fresh.default):
            # PyTorch detaches what a factory returns; the user wrote no such operator, and export shows none
            out = self._run(func, args, kwargs)
            self.same_as[id(out)] = self.canonical(cast(Tensor, args[0]))
            self.alive.append(out)
            return out
        decomposition = self._table.get(func)
        if decomposition is not None:
            return self._inside(decomposition, args, kwargs)
        if func.namespace == "aten" and func not in _METADATA and func not in _KEPT_WHOLE and func._can_decompose():
            out = self._inside(func.decompose, args, kwargs)
            if out is not NotImplemented:
                return out
        out = self._run(func, args, kwargs)
        tensors = (out,) if isinstance(out, Tensor) else tuple(x for x in tree_leaves(out) if isinstance(x, Tensor))
        if tensors:
            self.calls.append((func, args, kwargs, tensors))
        return out

    def _inside(
        self, decomposition: Callable[..., object], args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> object:
        self._depth += 1
        try:
            with self:
                return decomposition(*args, **kwargs)
        finally:
            self._depth -= 1

    def _run(self, func: Operator, args: tuple[object, ...], kwargs: Mapping[str, object]) -> object:
        shortcut = _SHORTCUTS.get(func)
        if shortcut:
            return shortcut(*args)
        if func in _ON_META and "device" not in kwargs and all(map(_is_without_data, args)) and _agrees(func, args):
            with in_kernel_invocation_manager(self._fake):
                made = func(*args, **kwargs)
            return FakeTensor(self._fake, made, _CPU)
        return func(*args, **kwargs)

    def canonical(self, tensor: Tensor) -> Tensor:
        return self.same_as.get(id(tensor), tensor)


def _batch_norm(x: Tensor, *statistics: object) -> tuple[Tensor, Tensor, Tensor]:
    """Return what `_native_batch_norm_legit_no_training` makes: the result and two empty tensors."""
    return torch.empty_like(x), x.new_empty((0,)), x.new_empty((0,))


_SHORTCUTS: Mapping[Operator, Callable[..., object]] = {aten._native_batch_norm_legit_no_training.default: _batch_norm}
"""Core operators whose fake kernel would decompose them once more, a hundred times slower than their shape rule."""


_ON_META = frozenset({
    aten.view.default, aten.slice.Tensor, aten.permute.default, aten.expand.default, aten.unsqueeze.default,
    aten.squeeze.dims, aten.select.int, aten.detach.default, aten.slice_scatter.default, aten.full_like.default,
    aten.clone.default, aten.mm.default, aten.bmm.default, aten.addmm.default, aten._to_copy.default, aten.add.Tensor,
    aten.mul.Tensor, aten.pow.Tensor_Scalar, aten.index_select.default, aten.constant_pad_nd.default,
    aten.avg_pool2d.default, aten.mul.Scalar, aten.fmod.Scalar,
})  # fmt: skip
"""Core operators on which PyTorch's meta kernel and its fake one agree; that takes a sixth of the time."""


def _is_without_data(arg: object) -> bool:
    """Whether `arg` is a number, or a fake tensor that does not stand for one with known elements."""
    return arg.constant is None if isinstance(arg, FakeTensor) else not isinstance(arg, Tensor)


def _agrees(func: Operator, args: tuple[object, ...]) -> bool:
    """Whether nothing is viewed whose dimensions of one element get other strides from each kernel."""
    if func is not aten.view.default:
        return True
    x, shape = cast("tuple[Tensor, Sequence[int]]", args)
    return 1 not in (*x.shape, *shape) or x.stride() == make_contiguous_strides_for(x.shape)


class Engine:
    """The modes of export, entered for the time of one decomposition."""

    def __init__(self) -> None:
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.recorder = Recorder(_table(), self.fake)
        self.functional = FunctionalTensorMode(export=True)

    @contextmanager
    def entered(self) -> Iterator[None]:
        with ExitStack() as stack:
            level = _FAKE_TENSOR_LOG.level
            _FAKE_TENSOR_LOG.setLevel(logging.CRITICAL)  # what fails is raised, and need not be printed too
            stack.callback(_FAKE_TENSOR_LOG.setLevel, level)
            mkldnn = torch.backends.mkldnn.set_flags(False)  # as export does: no mkldnn_rnn_layer
            stack.callback(torch.backends.mkldnn.set_flags, *mkldnn)
            stack.enter_context(
                _override_composite_implicit_decomp(dict.fromkeys(_KEPT_WHOLE, _special_op_to_preserve_cia))
            )
            stack.enter_context(torch.no_grad())
            stack.enter_context(enable_python_dispatcher())
            stack.enter_context(self.fake)
            stack.enter_context(self.recorder)
            stack.enter_context(self.functional)
            yield

    def make(self, meta: Meta) -> Tensor:
        """Return a new fake tensor on the CPU."""
        with _disable_current_modes():
            dtype = cast(torch.dtype, getattr(torch, meta.dtype))
            element = torch.empty_strided(meta.shape, meta.stride, dtype=dtype, device="meta")
            return FakeTensor(self.fake, element, _CPU)

    def wrap(self, inner: Tensor) -> Tensor:
        """Return `inner` as functionalisation sees it."""
        return FunctionalTensor(torch._to_functional_tensor(inner), self.functional)

    def unwrap(self, outer: object) -> Tensor:
        """Return the newest value of a functional tensor."""
        if not isinstance(outer, FunctionalTensor):
            return self.recorder.canonical(cast(Tensor, outer))
        return self.recorder.canonical(outer.from_functional())


_TABLE: dict[Operator, Callable[..., object]] = {}


def _table() -> Mapping[Operator, Callable[..., object]]:
    """Return the decompositions that ExecuTorch asks for (exir/tracer.py, `_default_decomposition_table`).

    Composite operators need no entry: the recorder asks each for its own decomposition.
    """
    if not _TABLE:
        _TABLE.update(cast("dict[Operator, Callable[..., object]]", _core_aten_decompositions_post_autograd()))
        extra = get_decompositions([aten.linalg_vector_norm.default])
        _TABLE.update(cast("dict[Operator, Callable[..., object]]", extra))
    return _TABLE
