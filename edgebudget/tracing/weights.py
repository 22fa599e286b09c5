"""A model's weights for the time of a trace: twins on meta in their place, and the model as it was afterwards."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from edgebudget.graph import ITEMSIZE, Ref, Role, TensorSpec
from edgebudget.tracing.guards import Mutable, own_containers, refill, tracked
from edgebudget.tracing.recorder import Recorder
from edgebudget.tracing.rules import ALONE, FORMS, REFS, Tag, form_of, reach
from edgebudget.tracing.stand_ins import StandIns
from edgebudget.tracing.standing import Own, stand_down, stand_in
from edgebudget.tracing.values import Twins, name_of

Tensor = torch.Tensor

_STRIDED = torch.strided

_PARAMETER, _BUFFER = Role.PARAMETER, Role.BUFFER
_new = tuple.__new__
_DTYPES = frozenset(
    dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype) and name_of(dtype) in ITEMSIZE
)


class WeightsOnMeta:
    """The weights of a model while meta twins stand in their place.

    `parameters` and `buffers` are the storages of each by dotted name. Leaves of `torch.nn` get twins only if somebody
    looks at them: most are replayed, for what they do with their weights is known.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.parameters: dict[str, tuple[int, ...]] = {}
        self.buffers: dict[str, tuple[int, ...]] = {}
        self._recorder = recorder
        self._twins = Twins()
        self._blocks: dict[int, int] = {}  # the storages of weights, by the addresses of the originals
        self._attributes: list[tuple[nn.Module, dict[str, object]]] = []  # of modules that have others now
        self._containers: list[tuple[Mutable, Mutable]] = []
        self._standing: list[nn.Module] = []
        self._trained: list[nn.Module] = []  # of these, those that were
        self._waiting: tuple[Sequence[Own], Sequence[nn.Module]] = ((), ())  # to stand once the model is looked at

    @contextmanager
    def within(self, modules: Mapping[str, nn.Module]) -> Iterator[None]:
        """Within: `modules`, by dotted path, have twins for weights, evaluate, and tell the recorder which one runs.

        What runs works on a copy of its `__dict__`. What has a stand-in keeps its own, evaluates, and gets a copy when
        it is looked at. Below a model that is a block as a whole nothing has to stand until the model is looked at.
        """
        owns = self._read(modules)
        members = tuple(modules.values())
        StandIns().assign(owns, members)
        try:
            if owns[0].is_block and owns[0].stand_in is not None:
                self._let_stand(owns[:1], members[:1])
                self._waiting = (owns[1:], members[1:])
            else:
                self._let_stand(owns, members)
            yield
        finally:
            stand_down(self._standing)
            for module, before in self._attributes:
                object.__setattr__(module, "__dict__", before)
            for module in self._trained:
                module.training = True
            refill(self._containers)
            self._waiting = ((), ())  # these know of `self`: without a cycle all is let go at once
            self._recorder.untag()

    def _let_stand(self, owns: Sequence[Own], modules: Sequence[nn.Module]) -> None:
        for own, module in zip(owns, modules, strict=True):
            if own.stand_in is None:
                self._swap(own, module)
                continue
            if module.training:
                self._trained.append(module)
                module.training = False
            self._standing.append(module)
            stand_in(module, own)

    def _read(self, modules: Mapping[str, nn.Module]) -> list[Own]:
        """Make all weights known to the recorder, and return those of each of `modules`. One loop: it is hot."""
        recorder, swap = self._recorder, self._swap
        tensors, blocks = recorder.tensors, recorder.blocks
        block_of, form_known = self._blocks.setdefault, FORMS.get
        value, unmet = len(tensors), len(blocks)
        owns: list[Own] = []
        recorder.paths = tuple(modules)
        for index, (path, module) in enumerate(modules.items()):
            attributes = module.__dict__
            own = Own(recorder, path, index, value, module.__class__, swap)
            owns.append(own)
            for role, weights in ((_PARAMETER, attributes["_parameters"]), (_BUFFER, attributes["_buffers"])):
                if not weights:
                    continue
                prefix = f"{path}." if path else ""
                storages = self.parameters if role is _PARAMETER else self.buffers
                transient = attributes["_non_persistent_buffers_set"] if role is _BUFFER else ()
                refs, signatures = own.refs, own.signatures
                for name, weight in weights.items():
                    if weight is None:
                        signatures.append(0)
                        continue
                    dotted, dtype = prefix + name, weight.dtype
                    if weight.layout is not _STRIDED or dtype not in _DTYPES:
                        twin = self._read_sparse(weight, role, dotted, name not in transient)
                        own.sparse = {**own.sparse, name: twin}
                        value, unmet = len(tensors), len(blocks)
                        continue
                    storage = weight.untyped_storage()
                    key = (weight.shape, weight.stride(), dtype, False)
                    signature, shape, stride, _, dtype_name = form_known(key) or form_of(*key)
                    block = block_of(storage._cdata, unmet)
                    if block == unmet:
                        unmet += 1
                        saved = name not in transient
                        blocks.append((storage.nbytes(), dtype_name, role, dotted, -1, saved, weight.requires_grad))
                    tensors.append(_new(TensorSpec, (value, shape, stride, dtype_name, block, weight.storage_offset())))
                    if value >= len(REFS):
                        reach(value)
                    refs.append(REFS[value])
                    signatures.append(signature)
                    storages[dotted] = ALONE[block]
                    value += 1
        return owns

    def _read_sparse(self, weight: Tensor, role: Role, name: str, is_saved: bool) -> Tensor:
        """Make known a weight that is its own twin: meta has no sparse kernels to speak of."""
        twin = self._twins.of(weight)
        ids = self._recorder.adopt(twin, role, name, is_saved, weight.requires_grad)
        storages = self.parameters if role is _PARAMETER else self.buffers
        storages[name] = tuple([self._recorder.tensors[i].storage for i in ids])
        return twin

    def _swap(self, own: Own, module: nn.Module) -> None:
        """Give `module` a `__dict__` of its own, in evaluation, with twins for its weights."""
        waiting, self._waiting = self._waiting, ((), ())
        self._let_stand(*waiting)
        self._containers += own_containers(module, self._recorder.kept)
        before = module.__dict__
        self._attributes.append((module, before))
        refs = iter(own.refs)
        attributes = before | {"training": False}
        for kind in ("_parameters", "_buffers"):
            attributes[kind] = {name: self._twin(weight, name, own, refs) for name, weight in before[kind].items()}
        attributes["forward"] = tracked(self._recorder, own.path, module.forward)
        object.__setattr__(module, "__dict__", attributes)

    def _twin(self, weight: Tensor | None, name: str, own: Own, refs: Iterator[Ref]) -> Tensor | None:
        """Return the twin of `weight` on meta, with its tag; `refs` are those of `own` that have not had theirs."""
        if weight is None or name in own.sparse:
            return own.sparse.get(name)
        ref, recorder = next(refs), self._recorder
        undispatched = torch._C._DisableTorchDispatch()  # the recorder may be active, and is not to see this
        try:
            twin = self._twins.of(weight)
        finally:
            del undispatched
        signature = form_of(weight.shape, weight.stride(), weight.dtype, False).signature
        recorder.addresses[twin.untyped_storage()._cdata] = recorder.tensors[ref].storage
        twin._edgebudget = Tag(recorder, ALONE[ref], signature, ref)  # type: ignore[attr-defined]
        return twin
