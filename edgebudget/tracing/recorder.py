"""The dispatch mode that writes down every operator of a forward, with its tensors, storages and lifetimes.

The hot path is short on purpose, since it runs once an operator: what an operator returns for given shapes, strides,
dtypes and constants is learned once a process (`_RULES`), then replayed without running the operator. An output that
owns its memory is made anew by `torch.empty_strided`; views run for real, so that storages are shared as in eager.
"""

import weakref
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple, cast

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from edgebudget.errors import TraceError
from edgebudget.graph import Arg, Op, Ref, Role, Storage, TensorSpec
from edgebudget.tracing.eager_layout import eager_strides
from edgebudget.tracing.values import (
    META,
    DataRead,
    Operator,
    components,
    grows_too_much,
    is_dense,
    makes_too_much,
    name_of,
    reads_data,
    refuse_opaque,
    run_on_meta,
    tensors_in,
)

Tensor = torch.Tensor

_MAX_RULES = 200_000  # bounds memory in a long-lived process; all of torchvision learns about a tenth of it


class _Kind(Enum):
    FRESH = 0  # one new tensor with memory of its own
    SAME = 1  # one of the arguments: in-place operators, and casts or dropouts that do nothing
    VIEW = 2  # a new tensor over the memory of the first argument: run it, and all else is known
    RUN = 3  # several outputs, moves between devices: run it


class _Rule(NamedTuple):
    """What an operator returns for one signature of its arguments."""

    kind: _Kind
    position: int = 0  # SAME: which argument
    mutates: bool = False  # SAME: a new value, or nothing at all
    shape: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    dtype: torch.dtype = torch.float32
    signature: int = 0


class _Block(NamedTuple):
    """A storage as it is met; `role` None where nothing is known but that it came from outside."""

    nbytes: int
    dtype: str
    role: Role | None
    name: str
    born: int
    persistent: bool = True
    trainable: bool = False


class _Death(weakref.ref[torch.UntypedStorage]):
    """A weak reference to a storage that knows which one it was."""

    __slots__ = ("address", "storage_id")
    address: int
    storage_id: int


_RULES: dict[tuple[object, ...], _Rule] = {}
_SIGNATURES: dict[tuple[object, ...], int] = {}
_PLAIN = frozenset({type(None), bool, int, float, complex, str})
_learned_under = torch.get_default_dtype()


def forget_rules_of_other_defaults() -> None:
    """Drop what was learned under another default dtype: it is the type of `integers * 0.5`."""
    global _learned_under
    if _learned_under != torch.get_default_dtype():
        _RULES.clear()
        _learned_under = torch.get_default_dtype()


def _signature(shape: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype, real: bool) -> int:
    """Return a number that stands for all that shape rules depend on; negative for real tensors."""
    key = (shape, stride, dtype, real)
    number = _SIGNATURES.get(key)
    if number is None:
        number = len(_SIGNATURES) + 1
        number = _SIGNATURES[key] = -number if real else number
    return number


class Recorder(TorchDispatchMode):
    """Records what runs under it. Whoever runs the model keeps `module` at the dotted path of the running module.

    Every tensor met carries a tag, `tensor._edgebudget`: (this recorder, its tensor ids, its signature).
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Keep torch from wrapping each dispatch in a guard against torch.compile, which costs a third of it."""
        return False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.module = ""
        self.attempt: object = None
        self.ops: list[Op] = []
        self.tensors: list[TensorSpec] = []
        self._blocks: list[_Block] = []
        self._dies: dict[int, int] = {}
        self._addresses: dict[int, int] = {}  # of live storages, to their ids
        self._deaths: list[_Death] = []
        self._foreign: list[weakref.ref[Tensor]] = []  # tagged, and not ours to keep
        self.kept: set[int] = set()  # addresses of real storages that the model holds: not written to
        self._tainted: set[int] = set()  # real storages into which unknown values were written

    # ---- what exists before the forward

    def adopt(
        self, tensor: Tensor, role: Role, name: str, persistent: bool = True, trainable: bool = False
    ) -> tuple[int, ...]:
        """Make a weight or an input known; returns its tensor ids, several where the layout is sparse."""
        if is_dense(tensor):
            return (self._register(tensor, role, name, persistent, trainable),)
        ids = tuple(self._register(part, role, name, persistent, trainable) for part in components(tensor))
        return self._tag_sparse(tensor, ids)

    def adopt_weight(self, twin: Tensor, role: Role, name: str, persistent: bool, trainable: bool) -> tuple[int, ...]:
        """`adopt` for the dense twin of a weight with a storage of its own: the short way, for models have hundreds."""
        storage = twin.untyped_storage()
        shape, stride, dtype = twin.shape, twin.stride(), twin.dtype
        dtype_name = name_of(dtype)
        block = len(self._blocks)
        self._blocks.append(_Block(storage.nbytes(), dtype_name, role, name, -1, persistent, trainable))
        self._addresses[storage._cdata] = block
        ids = (len(self.tensors),)
        self.tensors.append(TensorSpec(ids[0], tuple(shape), stride, dtype_name, block))
        twin._edgebudget = (self, ids, _signature(shape, stride, dtype, False))  # type: ignore[attr-defined]
        return ids

    def _register(
        self, tensor: Tensor, role: Role | None, name: str, persistent: bool = True, trainable: bool = False
    ) -> int:
        refuse_opaque(tensor)
        storage = tensor.untyped_storage()
        address = storage._cdata
        shape, stride, dtype = tensor.shape, tensor.stride(), tensor.dtype
        block = self._addresses.get(address)
        if block is None:
            block = len(self._blocks)
            born = len(self.ops) if role is None or role is Role.ACTIVATION else -1
            self._blocks.append(_Block(storage.nbytes(), name_of(dtype), role, name, born, persistent, trainable))
            self._addresses[address] = block
            if role is None or role is Role.ACTIVATION:
                self._watch(storage, address, block)
        ids = (len(self.tensors),)
        offset = int(tensor.storage_offset())
        self.tensors.append(TensorSpec(ids[0], tuple(shape), stride, name_of(dtype), block, offset))
        tensor._edgebudget = (self, ids, _signature(shape, stride, dtype, not tensor.is_meta))  # type: ignore[attr-defined]
        return ids[0]

    def _watch(self, storage: torch.UntypedStorage, address: int, storage_id: int) -> None:
        death = _Death(storage, self._died)
        death.storage_id = storage_id
        death.address = address
        self._deaths.append(death)

    def _died(self, death: weakref.ref[torch.UntypedStorage]) -> None:
        death = cast(_Death, death)
        self._dies[death.storage_id] = len(self.ops) - 1
        self._addresses.pop(death.address, None)

    def _tag_sparse(self, tensor: Tensor, ids: tuple[int, ...]) -> tuple[int, ...]:
        tensor._edgebudget = (self, ids, _signature(tensor.shape, (), tensor.dtype, not tensor.is_meta))  # type: ignore[attr-defined]
        return ids

    def _tag_of(self, tensor: Tensor) -> tuple[object, tuple[int, ...], int]:
        """Return a tensor's tag; one never met before is registered as from outside."""
        tag = getattr(tensor, "_edgebudget", None)
        if tag is None or tag[0] is not self:
            self.adopt(tensor, cast(Role, None), self.module)
            self._foreign.append(weakref.ref(tensor))
            tag = tensor._edgebudget  # type: ignore[attr-defined]
        return cast(tuple[object, tuple[int, ...], int], tag)

    # ---- the forward

    def __torch_dispatch__(
        self,
        func: Operator,
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        self.attempt = func
        key: list[object] = [func]
        inputs: list[int] = []
        recorded: list[Arg] = []
        real = False
        for arg in args:
            if isinstance(arg, Tensor):
                try:
                    owner, ids, signature = arg._edgebudget  # type: ignore[attr-defined]
                except AttributeError:
                    owner, ids, signature = self._tag_of(arg)
                if owner is not self:
                    _, ids, signature = self._tag_of(arg)
                real = real or signature < 0
                key.append(signature)
                inputs += ids
                recorded.append(Ref(ids[-1]))
                continue
            kind = arg.__class__
            if kind is int:
                key.append(arg)
                recorded.append(arg)  # type: ignore[arg-type]
            elif kind in _PLAIN:
                key += (arg, kind)  # 1, 1.0 and True are equal, but not to type promotion
                recorded.append(arg)  # type: ignore[arg-type]
            elif isinstance(arg, (list, tuple)):
                real = self._read_list(arg, key, inputs, recorded) or real
            else:
                key.append(arg)
                recorded.append(_constant(arg))
        named: tuple[tuple[str, Arg], ...] = ()
        if kwargs:
            for name, arg in kwargs.items():
                values: list[Arg] = []
                key.append(name)
                real = self._read_list((arg,), key, inputs, values) or real
                named += ((name, values[0][0]),)  # type: ignore[index]

        if real or not inputs:
            out = self._run_real(func, args, kwargs or {})
        else:
            rule = _RULES.get(tuple(key))
            if rule is None:
                out, rule = self._learn(func, args, kwargs or {})
                if len(_RULES) < _MAX_RULES:
                    _RULES[tuple(key)] = rule
            elif rule.kind is _Kind.FRESH:
                out = torch.empty_strided(rule.shape, rule.stride, dtype=rule.dtype, device=META)
            elif rule.kind is _Kind.SAME:
                out = args[rule.position]
            elif rule.kind is _Kind.VIEW:
                out = func(*args, **kwargs) if kwargs else func(*args)
            else:
                out = self._run(func, args, kwargs or {})
            if rule.kind is _Kind.SAME and not rule.mutates:
                return out
            if rule.kind is not _Kind.RUN:
                tensor = cast(Tensor, out)
                value = self._value(tensor, rule, inputs[0])
                signature = tensor._edgebudget[2] if rule.kind is _Kind.SAME else rule.signature  # type: ignore[attr-defined]
                ids = (value.id,)
                self.tensors.append(value)
                tensor._edgebudget = (self, ids, signature)  # type: ignore[attr-defined]
                name = name_of(func)
                self.ops.append(Op(len(self.ops), name, self.module, tuple(recorded), named, tuple(inputs), ids))
                return out
        self._record(func, out, args, tuple(recorded), named, tuple(inputs))
        return out

    def _read_list(self, items: Sequence[object], key: list[object], inputs: list[int], recorded: list[Arg]) -> bool:
        """Read a list of arguments as the loop over single ones does; returns whether a real tensor is among them."""
        if items and items[0].__class__ is int:  # a shape, strides, padding: the schema lets nothing else in beside it
            constant = tuple(items)
            key.append(constant)
            recorded.append(constant)  # type: ignore[arg-type]
            return False
        real = False
        values: list[Arg] = []
        for item in items:
            if isinstance(item, Tensor):
                _, ids, signature = self._tag_of(item)
                real = real or signature < 0
                key.append(signature)
                inputs += ids
                values.append(Ref(ids[-1]))
            else:
                key.append(tuple(item) if isinstance(item, list) else item)
                key.append(item.__class__)
                values.append(_constant(item))
        key.append(len(items))
        recorded.append(tuple(values))
        return real

    def _value(self, out: Tensor, rule: _Rule, first_input: int) -> TensorSpec:
        """Return what `rule` makes of `out`, which a call just gave: new memory, a view, or a new value in place."""
        value = len(self.tensors)
        if rule.kind is _Kind.SAME:
            return self.tensors[first_input]._replace(id=value)
        dtype = name_of(rule.dtype)
        if rule.kind is _Kind.VIEW:
            block = self.tensors[first_input].storage
            return TensorSpec(value, rule.shape, rule.stride, dtype, block, int(out.storage_offset()))
        block = len(self._blocks)
        storage = out.untyped_storage()
        address = storage._cdata
        self._blocks.append(_Block(storage.nbytes(), dtype, Role.ACTIVATION, self.module, len(self.ops)))
        self._addresses[address] = block
        self._watch(storage, address, block)
        return TensorSpec(value, rule.shape, rule.stride, dtype, block)

    def _record(
        self,
        func: Operator,
        out: object,
        args: tuple[object, ...],
        recorded: tuple[Arg, ...],
        kwargs: tuple[tuple[str, Arg], ...],
        inputs: tuple[int, ...],
    ) -> None:
        mutable = _is_mutable(func)
        outputs: tuple[int, ...] = ()
        if not inputs and not isinstance(out, Tensor):
            return  # a marker of the profiler's, an assertion: no tensor, so no memory
        for leaf in (out,) if isinstance(out, Tensor) else tree_leaves(out):
            if isinstance(leaf, Tensor):
                if not mutable and any(leaf is arg for arg in args):
                    return  # nothing was done: no operator, and no new value
                outputs += self.adopt(leaf, Role.ACTIVATION, self.module)
        self.ops.append(Op(len(self.ops), name_of(func), self.module, recorded, kwargs, inputs, outputs))

    def _learn(self, func: Operator, args: tuple[object, ...], kwargs: dict[str, object]) -> tuple[object, _Rule]:
        """Run `func` and return what it gave, with the rule that gives the same next time."""
        out = self._run(func, args, kwargs)
        if not isinstance(out, Tensor) or not is_dense(out) or not out.is_meta:
            return out, _Rule(_Kind.RUN)
        for position, arg in enumerate(args):
            if out is arg:
                return out, _Rule(_Kind.SAME, position, _is_mutable(func))
        refuse_opaque(out)
        base = args[0] if args else None
        if isinstance(base, Tensor) and base.is_meta and out.untyped_storage()._cdata == base.untyped_storage()._cdata:
            if any(isinstance(value, torch.device) for value in (*args, *kwargs.values())):
                return out, _Rule(_Kind.RUN)
            shape, stride = tuple(out.shape), out.stride()
            signature = _signature(shape, stride, out.dtype, False)
            return out, _Rule(_Kind.VIEW, shape=shape, stride=stride, dtype=out.dtype, signature=signature)
        if out.untyped_storage()._cdata in self._addresses:
            return out, _Rule(_Kind.RUN)
        stride = eager_strides(name_of(func), out, (*args, *kwargs.values()))
        fresh = torch.empty_strided(out.shape, stride, dtype=out.dtype, device=META)
        if out.storage_offset() or fresh.untyped_storage().nbytes() != out.untyped_storage().nbytes():
            return out, _Rule(_Kind.RUN)
        shape = tuple(out.shape)
        signature = _signature(shape, stride, out.dtype, False)
        return fresh, _Rule(_Kind.FRESH, shape=shape, stride=stride, dtype=out.dtype, signature=signature)

    def _run(self, func: Operator, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
        if reads_data(func, args):
            raise DataRead(name_of(func))
        if name_of(func).startswith(("quantized.", "aten.quantize_per")):
            raise TraceError(
                f"The operator {name_of(func)} quantizes in eager mode, whose tensors and packed weights a trace "
                "does not see.",
                "Give the float model, and choose --dtype int8.",
            )
        return run_on_meta(func, args, kwargs)

    def _run_real(self, func: Operator, args: Sequence[object], kwargs: dict[str, object]) -> object:
        """Run an operator of which some tensor is real, or that makes a tensor from nothing."""
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        devices = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.device)]
        written = args[0] if _is_mutable(func) and args else None
        if not isinstance(written, Tensor) or written.is_meta or not is_dense(written):
            written = None
        spared = written is not None and written.untyped_storage()._cdata in self.kept
        if (
            not spared
            and all(self.has_values(tensor) for tensor in tensors)
            and all(device.type == "cpu" for device in devices)
        ):
            if not tensors and makes_too_much(func, args, kwargs):
                return run_on_meta(func, args, kwargs | {"device": META})
            if not tensors or written is not None or not grows_too_much(func, args, kwargs):
                return func(*args, **kwargs)
        out = self._run(func, args, kwargs)
        if written is not None:
            self._tainted.add(self._addresses[written.untyped_storage()._cdata])
            return written
        return out

    def has_values(self, tensor: Tensor) -> bool:
        """Whether the values of `tensor` are the model's own: a small tensor made from Python data only."""
        if tensor.is_meta or not is_dense(tensor):
            return not tensor.is_meta
        return self._addresses.get(tensor.untyped_storage()._cdata) not in self._tainted

    # ---- what came of it

    def untag(self) -> None:
        """Take the tags off tensors that came from outside, such as constants that the model holds."""
        for reference in self._foreign:
            tensor = reference()
            if tensor is not None:
                del tensor._edgebudget  # type: ignore[attr-defined]

    def result_ids(self, result: object) -> tuple[int, ...]:
        """Return the ids of the tensors in a forward's result, whatever containers hold them."""
        return tuple(i for tensor in tensors_in(result) for i in self._tag_of(tensor)[1])

    def storages(self) -> tuple[Storage, ...]:
        """Return every storage met.

        What came from outside and outlives the forward is a constant of the model; what does not was made by other
        means than operators (`torch.from_numpy`), shortly before its first use.
        """
        end, dies = len(self.ops), self._dies.get
        return tuple(
            Storage(
                i,
                block.nbytes,
                block.dtype,
                block.role or (Role.ACTIVATION if i in self._dies else Role.CONSTANT),
                block.name,
                -1 if block.role is None and i not in self._dies else block.born,
                dies(i, end),
                block.persistent,
                block.trainable,
            )
            for i, block in enumerate(self._blocks)
        )


def _constant(value: object) -> Arg:
    """Return a non-tensor argument as the graph keeps it: torch's own objects by name."""
    if value.__class__ in _PLAIN:
        return value  # type: ignore[return-value]
    if isinstance(value, (list, tuple)):
        return tuple(_constant(item) for item in value)
    return name_of(value)


def _is_mutable(func: Operator) -> bool:
    return bool(func._schema.is_mutable)  # type: ignore[attr-defined]
