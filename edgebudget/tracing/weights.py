"""A model's weights for the time of a trace: twins on meta in their place, and the model as it was afterwards."""

import gc
from collections.abc import Iterator, Mapping, MutableMapping, Set
from contextlib import contextmanager
from typing import cast

import torch
from torch import nn

from edgebudget.graph import ITEMSIZE, Ref, Role, TensorSpec
from edgebudget.tracing.guards import own_containers, refill, tracked
from edgebudget.tracing.leaves import Own, is_plain, leaf_classes, replaying
from edgebudget.tracing.recorder import Recorder
from edgebudget.tracing.rules import Tag, form_of, ref_to
from edgebudget.tracing.values import Twins, name_of

Tensor = torch.Tensor

_STRIDED = torch.strided

_new = tuple.__new__
_NONE: frozenset[str] = frozenset()
_DTYPES = frozenset(
    dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype) and name_of(dtype) in ITEMSIZE
)


class WeightsOnMeta:
    """The weights of a model while meta twins stand in their place.

    `parameters` and `buffers` are the storages of each by dotted name. A twin is made when the forward asks for it;
    most never are, for what a leaf of `torch.nn` does with its weights is known.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.parameters: dict[str, tuple[int, ...]] = {}
        self.buffers: dict[str, tuple[int, ...]] = {}
        self._recorder = recorder
        self._twins = Twins()
        self._blocks: dict[int, int] = {}  # the storages of weights, by the addresses of the originals

    @contextmanager
    def within(self, modules: Mapping[str, nn.Module]) -> Iterator[None]:
        """Within: `modules`, by dotted path, have twins for weights, evaluate, and tell the recorder which one runs.

        The originals' attributes are not touched: each module works on a copy of its `__dict__`.
        """
        collecting = gc.isenabled()
        gc.disable()  # a collection in mid-forward would free cycles at a moment of its own choosing
        attributes = [(module, module.__dict__) for module in modules.values()]
        containers = []
        classes = leaf_classes()
        met: set[type[nn.Module]] = set()
        leaves: dict[int, Own] = {}
        try:
            for path, module in modules.items():
                kind = module.__class__
                leaf = classes.get(kind)
                if leaf is not None and is_plain(module, leaf):
                    leaves[id(module)] = self._swap(path, module)
                    met.add(kind)
                else:
                    containers += own_containers(module, self._recorder.kept)
                    self._swap(path, module)
                    module.__dict__["forward"] = tracked(self._recorder, path, module.forward)
            with replaying(self._recorder, leaves, met):
                yield
        finally:
            for module, before in attributes:
                object.__setattr__(module, "__dict__", before)
            refill(containers)
            self._recorder.untag()
            if collecting:
                gc.enable()

    def _swap(self, path: str, module: nn.Module) -> Own:
        """Give `module` a `__dict__` of its own, in evaluation, with twins for its weights."""
        own = Own(path)
        attributes = module.__dict__.copy()
        attributes["training"] = False
        parameters, buffers = attributes["_parameters"], attributes["_buffers"]
        attributes["_parameters"] = self._adopt(parameters, Role.PARAMETER, own, _NONE, self.parameters)
        attributes["_buffers"] = self._adopt(
            buffers, Role.BUFFER, own, attributes["_non_persistent_buffers_set"], self.buffers
        )
        object.__setattr__(module, "__dict__", attributes)
        return own

    def _adopt(
        self,
        weights: dict[str, Tensor | None],
        role: Role,
        own: Own,
        transient: Set[str],
        storages: dict[str, tuple[int, ...]],
    ) -> "dict[str, Tensor | None] | _Weights":
        """Make `weights` known, and return what is to stand in their place; where each is stored goes to `storages`."""
        if not weights:
            return {}
        recorder, known = self._recorder, self._blocks
        tensors, blocks = recorder.tensors, recorder.blocks
        refs, signatures = own.refs, own.signatures
        prefix = f"{own.path}." if own.path else ""
        twins: dict[str, Tensor | Ref | None] = {}
        for name, weight in weights.items():
            if weight is None:
                twins[name] = None
                signatures.append(0)
                continue
            dotted = prefix + name
            if weight.layout is not _STRIDED or weight.dtype not in _DTYPES:
                own.changed = True  # a sparse weight is its own twin: meta has no sparse kernels to speak of
                twin = twins[name] = self._twins.of(weight)
                ids = recorder.adopt(twin, role, dotted, name not in transient, weight.requires_grad)
                storages[dotted] = tuple([tensors[i].storage for i in ids])
                continue
            storage = weight.untyped_storage()
            address = storage._cdata
            signature, shape, stride, _, dtype = form_of(weight.shape, weight.stride(), weight.dtype, False)
            block = known.get(address)
            if block is None:
                block = known[address] = len(blocks)
                blocks.append((storage.nbytes(), dtype, role, dotted, -1, name not in transient, weight.requires_grad))
            value = len(tensors)
            tensors.append(_new(TensorSpec, (value, shape, stride, dtype, block, weight.storage_offset())))
            ref = twins[name] = ref_to(value)
            refs.append(ref)
            signatures.append(signature)
            storages[dotted] = (block,)
        return _Weights(weights, twins, own, self)

    def twin_of(self, weight: Tensor, ref: Ref) -> Tensor:
        """Return the twin of `weight` on meta, with its tag, made while the recorder is active."""
        recorder = self._recorder
        undispatched = torch._C._DisableTorchDispatch()
        try:
            twin = self._twins.of(weight)
        finally:
            del undispatched
        signature = form_of(weight.shape, weight.stride(), weight.dtype, False).signature
        recorder.addresses[twin.untyped_storage()._cdata] = recorder.tensors[ref].storage
        twin._edgebudget = Tag(recorder, (int(ref),), signature, ref)  # type: ignore[attr-defined]
        return twin


class _Weights(MutableMapping[str, "Tensor | None"]):
    """The parameters or the buffers of one module, each as its twin, which is made when it is asked for."""

    __slots__ = ("_originals", "_own", "_swap", "_twins")

    def __init__(
        self, originals: dict[str, Tensor | None], twins: dict[str, Tensor | Ref | None], own: Own, swap: WeightsOnMeta
    ) -> None:
        self._originals = originals
        self._twins = twins
        self._own = own
        self._swap = swap

    def __getitem__(self, name: str) -> Tensor | None:
        twin = self._twins[name]
        if isinstance(twin, Ref):
            twin = self._twins[name] = self._swap.twin_of(cast(Tensor, self._originals[name]), twin)
        return twin

    def __setitem__(self, name: str, value: Tensor | None) -> None:
        self._own.changed = True
        self._twins[name] = value

    def __delitem__(self, name: str) -> None:
        self._own.changed = True
        del self._twins[name]

    def __contains__(self, name: object) -> bool:
        return name in self._twins

    def __iter__(self) -> Iterator[str]:
        return iter(self._twins)

    def __len__(self) -> int:
        return len(self._twins)

    def copy(self) -> dict[str, Tensor | None]:
        """Return the twins as a plain dict, as a module that is copied in a forward asks for them."""
        return dict(self)
