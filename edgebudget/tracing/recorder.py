"""The dispatch mode that writes down every operator of a forward, with its tensors, storages and lifetimes.

The hot path is short on purpose, since it runs once an operator: what an operator returns for given shapes, strides,
dtypes and constants is learned once a process (`_RULES`), then replayed without running the operator. An output that
owns its memory is made anew by `torch.empty_strided`; views run for real, so that storages are shared as in eager.
"""

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from edgebudget.errors import TraceError
from edgebudget.graph import Arg, Op, Ref, Role, Storage, TensorSpec
from edgebudget.tracing.eager_layout import eager_strides
from edgebudget.tracing.foreseen import foresee
from edgebudget.tracing.rules import ALONE, PLAIN, RAN, REFS, RULES, Form, Kind, Rule, Tag, constant_of, form_of, reach
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

_ACTIVATION = Role.ACTIVATION
_new = tuple.__new__  # makes a named tuple in a third of the time of its own constructor
_empty_strided = torch.empty_strided
_without_dispatch = torch._C._DisableTorchDispatch

Block = tuple[int, str, Role | None, str, int, bool, bool]
"""A storage as it is met: bytes, dtype, role (None where it came from outside), name, birth, persistent, trainable."""


Promise = tuple[Form, Ref, int]
"""An output that is written down, and of which no tensor has been made yet: its form, id and storage."""


class _Death(weakref.ref[torch.UntypedStorage]):
    """A weak reference to a storage that knows which one it was."""

    __slots__ = ("address", "storage_id")
    address: int
    storage_id: int


def _noting_death(
    ops: list[Op], dies: dict[int, int], addresses: dict[int, int]
) -> Callable[[weakref.ref[torch.UntypedStorage]], None]:
    """Return what notes in `dies` the operator after which a storage died. Not a method: it would keep the recorder."""

    def died(death: weakref.ref[torch.UntypedStorage]) -> None:
        death = cast(_Death, death)
        dies[death.storage_id] = len(ops) - 1
        addresses.pop(death.address, None)

    return died


class Recorder(TorchDispatchMode):
    """Records what runs under it. Whoever runs the model keeps `module` at the dotted path of the running module.

    Every tensor met carries a `Tag` as its attribute `_edgebudget`.
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
        self.blocks: list[Block] = []
        self.last_rule: Rule | None = None  # of the operator recorded last, where one holds for it
        self._dies: dict[int, int] = {}
        self.addresses: dict[int, int] = {}  # of live storages, to their ids
        self._deaths: list[_Death] = []
        self._on_death = _noting_death(self.ops, self._dies, self.addresses)
        self._foreign: list[weakref.ref[Tensor]] = []  # tagged, and not ours to keep
        self.paths: tuple[str, ...] = ()  # of the model's modules, parents before what is below them
        self.reals = 0  # how many real tensors were met
        self.kept: set[int] = set()  # addresses of real storages that the model holds: not written to
        self._tainted: set[int] = set()  # real storages into which unknown values were written

    # ---- what exists before the forward

    def adopt(
        self, tensor: Tensor, role: Role, name: str, persistent: bool = True, trainable: bool = False
    ) -> tuple[int, ...]:
        """Make a weight or an input known; returns its tensor ids, several where the layout is sparse."""
        if is_dense(tensor):
            return ALONE[self._register(tensor, role, name, persistent, trainable)]
        ids = tuple(self._register(part, role, name, persistent, trainable) for part in components(tensor))
        form = form_of(tensor.shape, (), tensor.dtype, not tensor.is_meta)
        tensor._edgebudget = Tag(self, ids, form.signature, REFS[ids[-1]])  # type: ignore[attr-defined]
        return ids

    def _register(
        self, tensor: Tensor, role: Role | None, name: str, persistent: bool = True, trainable: bool = False
    ) -> int:
        refuse_opaque(tensor)
        storage = tensor.untyped_storage()
        address = storage._cdata
        form = form_of(tensor.shape, tensor.stride(), tensor.dtype, not tensor.is_meta)
        self.reals += form.signature < 0
        block = self.addresses.get(address)
        if block is None:
            block = len(self.blocks)
            outlives = role is not None and role is not Role.ACTIVATION
            born = -1 if outlives else len(self.ops)
            self.blocks.append((storage.nbytes(), form.dtype_name, role, name, born, persistent, trainable))
            self.addresses[address] = block
            if not outlives:
                self._watch(storage, address, block)
        value = len(self.tensors)
        offset = int(tensor.storage_offset())
        self.tensors.append(TensorSpec(value, form.shape, form.stride, form.dtype_name, block, offset))
        if value >= len(REFS):
            reach(value)
        tensor._edgebudget = Tag(self, ALONE[value], form.signature, REFS[value])  # type: ignore[attr-defined]
        return value

    def _watch(self, storage: torch.UntypedStorage, address: int, storage_id: int) -> None:
        death = _Death(storage, self._on_death)
        death.storage_id = storage_id
        death.address = address
        self._deaths.append(death)

    def tag_of(self, tensor: Tensor) -> Tag:
        """Return a tensor's tag; one never met before is registered as from outside."""
        tag = getattr(tensor, "_edgebudget", None)
        if tag is None or tag[0] is not self:
            self.adopt(tensor, cast(Role, None), self.module)
            self._foreign.append(weakref.ref(tensor))
            tag = tensor._edgebudget  # type: ignore[attr-defined]
        return cast(Tag, tag)

    def replayable_tag(self, value: object) -> Tag | None:
        """Return the tag of a dense tensor on meta that was met before; None for anything else."""
        tag: Tag | None = getattr(value, "_edgebudget", None) if isinstance(value, Tensor) else None
        return None if tag is None or tag[0] is not self or tag[2] < 0 or len(tag[1]) > 1 else tag

    # ---- the forward

    def __torch_dispatch__(
        self,
        func: Operator,
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        self.attempt = func
        key: list[object] = [func._name]  # type: ignore[attr-defined]
        inputs: list[int] = []
        recorded: list[Arg] = []
        real = False
        for arg in args:
            if isinstance(arg, Tensor):
                try:
                    owner, ids, signature, ref = arg._edgebudget  # type: ignore[attr-defined]
                except AttributeError:
                    owner, ids, signature, ref = self.tag_of(arg)
                if owner is not self:
                    _, ids, signature, ref = self.tag_of(arg)
                if signature < 0:
                    real = True
                key.append(signature)
                inputs += ids
                recorded.append(ref)
                continue
            kind = arg.__class__
            if kind is int:
                key.append(arg)
                recorded.append(arg)  # type: ignore[arg-type]
            elif kind in PLAIN:
                key += (arg, kind)  # 1, 1.0 and True are equal, but not to type promotion
                recorded.append(arg)  # type: ignore[arg-type]
            elif kind is list or kind is tuple:
                real = self._read_list(arg, key, inputs, recorded) or real  # type: ignore[arg-type]
            else:
                key.append(arg)
                recorded.append(constant_of(arg))
        named: tuple[tuple[str, Arg], ...] = ()
        if kwargs:
            for name, arg in kwargs.items():
                values: list[Arg] = []
                key.append(name)
                real = self._read_list((arg,), key, inputs, values) or real
                named += ((name, values[0][0]),)  # type: ignore[index]

        if real or not inputs:
            self.last_rule = None
            out = self._run_real(func, args, kwargs or {})
            self._record(func, out, args, tuple(recorded), named, tuple(inputs))
            return out
        known = tuple(key)
        rule = RULES.get(known)
        made: object = None
        if rule is None:
            rule = foresee(name_of(func), args, kwargs or {})
            if rule is None:
                made, rule = self._learn(func, args, kwargs or {})
            RULES.remember(known, rule)
        self.last_rule = rule
        kind_of_rule = rule.kind
        if kind_of_rule is Kind.FRESH:
            return self.redeem(*self.promise(rule, self.module, tuple(recorded), named, tuple(inputs)))
        if kind_of_rule is Kind.SAME:
            tensor = cast(Tensor, args[rule.position])
            if rule.mutates:
                self.rewrite(tensor, rule.target, self.module, tuple(recorded), named, tuple(inputs))
            return tensor
        if kind_of_rule is Kind.RUN:
            out = made if made is not None else self._run(func, args, kwargs or {})
            self._record(func, out, args, tuple(recorded), named, tuple(inputs))
            return out
        base = cast(Tensor, args[0])
        _, _, _, _, storage, begin = self.tensors[inputs[0]]
        signature, shape, stride, _, dtype_name = rule.form
        view = base.as_strided(shape, stride, begin + rule.shift)
        spec = (shape, stride, dtype_name, storage, begin + rule.shift)
        ref = self._write(spec, rule.target, self.module, tuple(recorded), named, tuple(inputs))
        view._edgebudget = _new(Tag, (self, ALONE[ref], signature, ref))  # type: ignore[attr-defined]
        return view

    def promise(
        self,
        rule: Rule,
        module: str,
        args: tuple[Arg, ...],
        kwargs: tuple[tuple[str, Arg], ...],
        inputs: tuple[int, ...],
    ) -> Promise:
        """Record an operator with the rule FRESH; its output is left to `redeem`, or to `expire`."""
        _, target, _, _, form, nbytes, _ = rule
        _, shape, stride, _, dtype_name = form
        block = len(self.blocks)
        self.blocks.append((nbytes, dtype_name, _ACTIVATION, module, len(self.ops), True, False))
        return form, self._write((shape, stride, dtype_name, block, 0), target, module, args, kwargs, inputs), block

    def redeem(self, form: Form, ref: Ref, block: int) -> Tensor:
        """Return the tensor that was promised. Only while no dispatch mode is active."""
        signature, shape, stride, dtype, _ = form
        out = _empty_strided(shape, stride, dtype=dtype, device=META)
        storage = out.untyped_storage()
        address = storage._cdata
        self.addresses[address] = block
        death = _Death(storage, self._on_death)  # what `_watch` does, without the call
        death.storage_id = block
        death.address = address
        self._deaths.append(death)
        out._edgebudget = _new(Tag, (self, ALONE[ref], signature, ref))  # type: ignore[attr-defined]
        return out

    def made(self, promise: Promise) -> Tensor:
        """Return the tensor that was promised, outside of any dispatch: of this very mode too, not to see itself."""
        undispatched = _without_dispatch()  # while it lives
        try:
            return self.redeem(*promise)
        finally:
            del undispatched

    def rewrite_value(
        self,
        ref: Ref,
        target: str,
        module: str,
        args: tuple[Arg, ...],
        kwargs: tuple[tuple[str, Arg], ...],
        inputs: tuple[int, ...],
    ) -> Ref:
        """Record an in-place operator on the value `ref`; returns what it is from then on."""
        return self._write(self.tensors[ref][1:], target, module, args, kwargs, inputs)

    def expire(self, block: int) -> None:
        """Note that nobody has held what was promised in `block` since the last operator."""
        self._dies[block] = len(self.ops) - 1

    def expire_all(self, deaths: Iterable[tuple[int, int]], block: int, op: int) -> None:
        """Note which storages, counted from `block`, nobody has held since which operators, counted from `op`."""
        self._dies.update([(block + dead, op + last) for dead, last in deaths])

    def deaths_since(self, block: int) -> dict[int, int]:
        """Return which storages from `block` on nobody holds any more, and since which operators."""
        dies = self._dies
        return {dead: dies[dead] for dead in range(block, len(self.blocks)) if dead in dies}

    def rewrite(
        self,
        tensor: Tensor,
        target: str,
        module: str,
        args: tuple[Arg, ...],
        kwargs: tuple[tuple[str, Arg], ...],
        inputs: tuple[int, ...],
    ) -> None:
        """Record an in-place operator: `tensor` has a new value over the memory of its old one."""
        tag = cast(Tag, tensor._edgebudget)  # type: ignore[attr-defined]
        ref = self.rewrite_value(tag.ref, target, module, args, kwargs, inputs)
        tensor._edgebudget = _new(Tag, (self, ALONE[ref], tag.signature, ref))  # type: ignore[attr-defined]

    def _write(
        self,
        spec: tuple[tuple[int, ...], tuple[int, ...], str, int, int],
        target: str,
        module: str,
        args: tuple[Arg, ...],
        kwargs: tuple[tuple[str, Arg], ...],
        inputs: tuple[int, ...],
    ) -> Ref:
        """Write down an operator with one output, a new value; returns it. `spec` is the TensorSpec but for its id."""
        ops, tensors = self.ops, self.tensors
        value = len(tensors)
        if value >= len(REFS):
            reach(value)
        tensors.append(_new(TensorSpec, (value, *spec)))
        ops.append(_new(Op, (len(ops), target, module, args, kwargs, inputs, ALONE[value])))
        return REFS[value]

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
                _, ids, signature, ref = self.tag_of(item)
                real = real or signature < 0
                key.append(signature)
                inputs += ids
                values.append(ref)
            else:
                key.append(tuple(item) if isinstance(item, list) else item)
                key.append(item.__class__)
                values.append(constant_of(item))
        key.append(len(items))
        recorded.append(tuple(values))
        return real

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

    def _learn(self, func: Operator, args: tuple[object, ...], kwargs: dict[str, object]) -> tuple[object, Rule]:
        """Run `func` and return what it gave, with the rule that gives the same next time."""
        target = name_of(func)
        out = self._run(func, args, kwargs)
        if not isinstance(out, Tensor) or not is_dense(out) or not out.is_meta:
            return out, Rule(Kind.RUN, target)
        for position, arg in enumerate(args):
            if out is arg:
                return out, Rule(Kind.SAME, target, position, _is_mutable(func))
        refuse_opaque(out)
        base = args[0] if args else None
        if isinstance(base, Tensor) and base.is_meta and out.untyped_storage()._cdata == base.untyped_storage()._cdata:
            if any(isinstance(value, torch.device) for value in (*args, *kwargs.values())):
                return out, Rule(Kind.RUN, target)
            if out.dtype is not base.dtype or out.is_complex():
                return out, Rule(Kind.RUN, target)
            shift = int(out.storage_offset() - base.storage_offset())
            return out, Rule(Kind.VIEW, target, form=form_of(out.shape, out.stride(), out.dtype, False), shift=shift)
        if out.untyped_storage()._cdata in self.addresses:
            return out, Rule(Kind.RUN, target)
        stride = eager_strides(target, out, (*args, *kwargs.values()))
        nbytes = torch.empty_strided(out.shape, stride, dtype=out.dtype, device=META).untyped_storage().nbytes()
        if out.storage_offset() or nbytes != out.untyped_storage().nbytes():
            return out, Rule(Kind.RUN, target)
        return out, Rule(Kind.FRESH, target, form=form_of(out.shape, stride, out.dtype, False), nbytes=nbytes)

    def _run(self, func: Operator, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
        if reads_data(func, args):
            raise DataRead(name_of(func))
        if name_of(func).startswith(("quantized.", "aten.quantize_per")):
            raise TraceError(
                f"The operator {name_of(func)} quantizes in eager mode, whose tensors and packed weights a trace "
                "does not see.",
                "Give the float model, and choose --dtype int8.",
            )
        RAN.add(func)
        return run_on_meta(func, args, kwargs)

    def _run_real(self, func: Operator, args: Sequence[object], kwargs: dict[str, object]) -> object:
        """Run an operator of which some tensor is real, or that makes a tensor from nothing."""
        RAN.add(func)
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
            self._tainted.add(self.addresses[written.untyped_storage()._cdata])
            return written
        return out

    def has_values(self, tensor: Tensor) -> bool:
        """Whether the values of `tensor` are the model's own: a small tensor made from Python data only."""
        if tensor.is_meta or not is_dense(tensor):
            return not tensor.is_meta
        return self.addresses.get(tensor.untyped_storage()._cdata) not in self._tainted

    # ---- what came of it

    def untag(self) -> None:
        """Take the tags off tensors that came from outside, such as constants that the model holds."""
        for reference in self._foreign:
            tensor = reference()
            if tensor is not None:
                del tensor._edgebudget  # type: ignore[attr-defined]

    def result_ids(self, result: object) -> tuple[int, ...]:
        """Return the ids of the tensors in a forward's result, whatever containers hold them."""
        return tuple(i for tensor in tensors_in(result) for i in self.tag_of(tensor)[1])

    def storages(self) -> tuple[Storage, ...]:
        """Return every storage met.

        What came from outside and outlives the forward is a constant of the model; what does not was made by other
        means than operators (`torch.from_numpy`), shortly before its first use.
        """
        end, dies = len(self.ops), self._dies
        return tuple(
            [
                _new(
                    Storage,
                    (
                        i,
                        nbytes,
                        dtype,
                        role or (Role.ACTIVATION if i in dies else Role.CONSTANT),
                        name,
                        -1 if role is None and i not in dies else born,
                        dies.get(i, end),
                        persistent,
                        trainable,
                    ),
                )
                for i, (nbytes, dtype, role, name, born, persistent, trainable) in enumerate(self.blocks)
            ]
        )


def _is_mutable(func: Operator) -> bool:
    return bool(func._schema.is_mutable)  # type: ignore[attr-defined]
