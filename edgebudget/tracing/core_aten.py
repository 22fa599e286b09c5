"""An eager-level trace to the core ATen graph that `torch.export` and `run_decompositions` make of the same model.

Each operator of the trace is replayed under the modes that PyTorch's own export uses: functionalisation, then a
recorder in the place of the proxy tracer that applies the decomposition table, then fake tensors on the CPU. What one
operator becomes depends on the shapes, strides, dtypes and constants of its arguments only, so it is learned once a
process and then written down without running anything. Only where storage is written through a view do the tensors
themselves stay alive between operators, so that functionalisation can regenerate what the write reached.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch.utils._pytree import tree_leaves

from edgebudget.errors import TraceError
from edgebudget.graph import FLOATING, ITEMSIZE, Arg, Op, Ref, Role, Storage, TensorSpec, TracedGraph
from edgebudget.tracing.export_modes import Engine, Meta, Operator, Tensor
from edgebudget.tracing.templates import (
    Call,
    Template,
    form_of,
    keeps_type,
    resized,
    retyped,
    retyped_metas,
    typed,
)
from edgebudget.tracing.values import name_of

_MAX_TEMPLATES = 100_000  # bounds memory in a long-lived process


_TEMPLATES: dict[tuple[object, ...], Template] = {}
_FORMS: dict[tuple[object, ...] | None, Template] = {}  # one template of each form
_OPERATORS: dict[str, Operator] = {}


def decompose(graph: TracedGraph, floating_dtype: str = "float32") -> TracedGraph:
    """Return `graph` as functional core ATen: every tensor made once and owning its storage, nothing dead.

    Lifetimes run from the operator that makes a tensor to the last that reads it. `floating_dtype` takes the place of
    float32 throughout, as in a model that was converted before export. Weights and inputs keep their storages.

    Raises TraceError for an operator that PyTorch cannot decompose or that is not registered in this process.
    """
    return _Decomposer(graph, floating_dtype).run()


class _Decomposer:
    def __init__(self, graph: TracedGraph, floating_dtype: str) -> None:
        self._graph = graph
        self._floating = floating_dtype
        self._engine = Engine()
        self._values: list[Meta] = []
        self._calls: list[Call] = []
        self._roots: dict[int, tuple[int, TensorSpec]] = {}  # value, to the storage it stands in and its spec
        self._constants: list[int] = []
        self._value_of: dict[int, int] = {}  # tensor of the trace, to value
        self._shared: dict[tuple[object, ...], int] = {}
        self._live = _written_through_views(graph)  # storages whose tensors stay functional tensors
        self._outer: dict[int, Tensor] = {}  # tensor of the trace, to functional tensor
        self._inner: dict[int, int] = {}  # id of a fake tensor, to value
        self._keep: list[object] = []
        self._module = ""  # of the operator at hand
        self._written: dict[int, int] = {}  # storage from before the forward, to the value written to it last

    def run(self) -> TracedGraph:
        with self._engine.entered():
            for op in self._graph.ops:
                self._replay(op)
            outputs = tuple(self._value(t) for t in self._graph.outputs)
            self._write_back()
        inputs = tuple(self._value(t) for t in self._graph.inputs)
        return self._finish(inputs, outputs)

    # ---- values

    def _meta_of(self, spec: TensorSpec) -> Meta:
        return Meta(spec.shape, spec.stride, self._dtype(spec.dtype))

    def _dtype(self, dtype: str) -> str:
        return self._floating if dtype == "float32" else dtype

    def _new(self, meta: Meta) -> int:
        self._values.append(meta)
        return len(self._values) - 1

    def _value(self, tensor: int) -> int:
        """Return the value of a tensor of the trace; one that no operator made is a weight, an input or a constant."""
        if tensor in self._outer:
            mark = len(self._engine.recorder.calls)
            inner = self._engine.unwrap(self._outer[tensor])  # which may regenerate views of what was written
            self._write_down(mark)
            return self._value_of_inner(inner)
        value = self._value_of.get(tensor)
        if value is None:
            spec = self._graph.tensors[tensor]
            key = (spec.storage, spec.shape, spec.stride, spec.dtype, spec.offset)
            value = self._shared.get(key)
            if value is None:
                value = self._new(self._meta_of(spec))
                self._roots[value] = (spec.storage, spec)
                if self._graph.storages[spec.storage].role is Role.ACTIVATION:
                    value = self._lift(value)
                self._shared[key] = value
            self._value_of[tensor] = value
        return value

    def _lift(self, constant: int) -> int:
        """Return the copy that export makes of a tensor which Python made from data while the model ran."""
        meta = self._values[constant]
        copy = self._new(meta)
        self._calls.append(
            Call("aten.clone.default", (Ref(constant),), (), (constant,), (copy,), (meta,), self._module)
        )
        return copy

    def _value_of_inner(self, inner: Tensor) -> int:
        value = self._inner.get(id(inner))
        if value is None:
            value = self._inner[id(inner)] = self._new(_meta(inner))
            self._constants.append(value)
            self._keep.append(inner)
        return value

    # ---- operators

    def _replay(self, op: Op) -> None:
        self._module = op.module
        storages = {self._graph.tensors[t].storage for t in (*op.inputs, *op.outputs)}
        if self._live and not self._live.isdisjoint(storages):
            self._replay_live(op)
            return
        arguments = list(dict.fromkeys([self._value(t) for t in op.inputs]))
        local = {value: i for i, value in enumerate(arguments)}
        args = tuple([self._localise(arg, local) for arg in op.args])
        kwargs = tuple([(name, self._localise(arg, local)) for name, arg in op.kwargs])
        metas = tuple([self._values[value] for value in arguments])
        constants = (typed(args), typed(kwargs))
        key = (op.target, constants, metas)
        template = _TEMPLATES.get(key)
        if template is None:
            form = form_of(op.target, constants, metas)
            template = self._derived(op, constants, metas, form) or self._learn(op, args, kwargs, metas)
            if len(_TEMPLATES) < _MAX_TEMPLATES:
                _TEMPLATES[key] = template
                _FORMS.setdefault(form, template)
        self._instantiate(op, template, arguments)

    def _derived(
        self, op: Op, constants: tuple[object, ...], metas: tuple[Meta, ...], form: tuple[object, ...] | None
    ) -> Template | None:
        """Return what `op` becomes from what was learned of one of other sizes, or of the same in float32."""
        known = _FORMS.get(form) if form else None
        found = resized(known, self._graph.tensors[op.outputs[0]].shape) if known else None
        is_mixed = "float32" in [meta.dtype for meta in metas]  # also so where all are float32, as they were learned
        if found is None and not is_mixed and keeps_type(op.target):
            known = _TEMPLATES.get((op.target, constants, retyped_metas(metas, self._floating, "float32")))
            found = retyped(known, "float32", self._floating) if known else None
        return found

    def _localise(self, arg: Arg, local: Mapping[int, int]) -> Arg:
        if isinstance(arg, Ref):
            return Ref(local[self._value(int(arg))])
        if isinstance(arg, tuple):
            return tuple([self._localise(item, local) for item in arg])
        return self._dtype(arg) if isinstance(arg, str) else arg

    def _learn(
        self, op: Op, args: tuple[Arg, ...], kwargs: tuple[tuple[str, Arg], ...], metas: tuple[Meta, ...]
    ) -> Template:
        """Run `op` once on tensors of its own and return what was recorded."""
        engine, recorder = self._engine, self._engine.recorder
        inner = [engine.make(meta) for meta in metas]
        outer = [engine.wrap(tensor) for tensor in inner]
        mark = len(recorder.calls)
        results = self._run(op, [_rebuild(a, outer) for a in args], {k: _rebuild(a, outer) for k, a in kwargs})
        new = [engine.unwrap(tensor) for tensor in outer]
        outputs = [engine.unwrap(result) for result in results]
        recorded = recorder.calls[mark:]
        del recorder.calls[mark:]
        numbers = {id(tensor): i for i, tensor in enumerate(inner)}
        count = len(inner)
        calls: list[Call] = []
        constants: list[tuple[int, Meta]] = []

        def number(tensor: Tensor) -> int:
            nonlocal count
            tensor = recorder.canonical(tensor)
            if id(tensor) not in numbers:
                numbers[id(tensor)] = count
                constants.append((count, _meta(tensor)))
                count += 1
            return numbers[id(tensor)]

        for func, call_args, call_kwargs, made in recorded:
            as_args = tuple(_describe(arg, number) for arg in call_args)
            as_kwargs = tuple((name, _describe(arg, number)) for name, arg in call_kwargs.items())
            made_numbers = []
            for tensor in made:
                numbers[id(tensor)] = count
                made_numbers.append(count)
                count += 1
            calls.append(
                Call(
                    name_of(func),
                    as_args,
                    as_kwargs,
                    tuple(_refs((as_args, tuple(arg for _, arg in as_kwargs)))),
                    tuple(made_numbers),
                    tuple(_meta(tensor) for tensor in made),
                )
            )
        rebound = tuple((i, number(t)) for i, t in enumerate(new) if t is not inner[i])
        template = Template(len(inner), tuple(calls), tuple(number(t) for t in outputs), rebound, tuple(constants))
        return template

    def _run(self, op: Op, args: list[object], kwargs: dict[str, object]) -> list[Tensor]:
        try:
            result = _operator(op.target)(*args, **kwargs)
        except Exception as failure:
            text = " ".join(str(failure).split())[:300]
            raise TraceError(
                f"{self._graph.name}: {op.target} in '{op.module}' cannot be decomposed: "
                f"{type(failure).__name__}: {text}",
                "Estimate the model with a runtime that needs no decomposed graph, such as pytorch.",
            ) from failure
        results = [result] if isinstance(result, Tensor) else [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        if len(results) != len(op.outputs):
            raise TraceError(
                f"{self._graph.name}: {op.target} in '{op.module}' gave {len(results)} tensors when decomposed, "
                f"and {len(op.outputs)} when traced."
            )
        return results

    def _instantiate(self, op: Op, template: Template, arguments: list[int]) -> None:
        values = dict(enumerate(arguments))
        for number, meta in template.constants:
            values[number] = self._new(meta)
            self._constants.append(values[number])
        for call in template.calls:
            for number, meta in zip(call.outputs, call.metas, strict=True):
                values[number] = self._new(meta)
            self._calls.append(_renumbered(call, values, op.module))
        for argument, number in template.rebound:
            old, new = arguments[argument], values[number]
            for tensor in op.inputs:
                if self._value_of.get(tensor) == old:
                    self._value_of[tensor] = new
                    self._written[self._graph.tensors[tensor].storage] = new
        for tensor, number in zip(op.outputs, template.outputs, strict=True):
            self._value_of[tensor] = values[number]

    def _replay_live(self, op: Op) -> None:
        """Run `op` on tensors that stay: functionalisation keeps track of who views what."""
        recorder = self._engine.recorder

        def outer(arg: Arg) -> object:
            if isinstance(arg, Ref):
                return self._outer_of(int(arg))
            if isinstance(arg, tuple):
                return [outer(item) for item in arg]
            return _constant(self._dtype(arg)) if isinstance(arg, str) else arg

        args, kwargs = [outer(arg) for arg in op.args], {name: outer(arg) for name, arg in op.kwargs}
        mark = len(recorder.calls)
        results = self._run(op, args, kwargs)
        for tensor, result in zip(op.outputs, results, strict=True):
            self._outer[tensor] = result
        self._write_down(mark)

    def _outer_of(self, tensor: int) -> Tensor:
        if tensor not in self._outer:
            value = self._value(tensor)
            inner = self._engine.make(self._values[value])
            self._inner[id(inner)] = value
            self._keep.append(inner)
            self._outer[tensor] = self._engine.wrap(inner)
        return self._outer[tensor]

    def _write_down(self, mark: int) -> None:
        recorder = self._engine.recorder

        def value(tensor: Tensor) -> int:
            return self._value_of_inner(recorder.canonical(tensor))

        for func, args, kwargs, made in recorder.calls[mark:]:
            as_args = tuple(_describe(arg, value) for arg in args)
            as_kwargs = tuple((name, _describe(arg, value)) for name, arg in kwargs.items())
            outputs = []
            for tensor in made:
                self._inner[id(tensor)] = self._new(_meta(tensor))
                self._keep.append(tensor)
                outputs.append(self._inner[id(tensor)])
            inputs = tuple(_refs((as_args, tuple(arg for _, arg in as_kwargs))))
            metas = tuple(self._values[i] for i in outputs)
            self._calls.append(Call(name_of(func), as_args, as_kwargs, inputs, tuple(outputs), metas, self._module))
        del recorder.calls[mark:]

    def _write_back(self) -> None:
        """Copy what was written to weights, buffers and inputs back into them, after all else, as export does."""
        roots = {storage: value for value, (storage, _) in reversed(self._roots.items())}
        for tensor in list(self._outer):
            spec = self._graph.tensors[tensor]
            if spec.storage in self._live and self._roots.get(self._value_of.get(tensor, -1)):
                self._written[spec.storage] = self._value(tensor)
        for storage, value in self._written.items():
            root = roots.get(storage)
            if root is not None and root != value and self._graph.storages[storage].role is not Role.ACTIVATION:
                self._calls.append(Call("aten.copy_.default", (Ref(root), Ref(value)), (), (root, value), (), (), ""))

    # ---- the new graph

    def _finish(self, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> TracedGraph:
        calls = _without_dead(self._calls, outputs)
        end = len(calls)
        kept = [s for s in self._graph.storages if s.role is not Role.ACTIVATION]
        place = {s.id: i for i, s in enumerate(kept)}
        storages = [_moved(s, i, end, self._dtype) for i, s in enumerate(kept)]
        tensors: list[TensorSpec] = []
        tensor_of: dict[int, int] = {}
        last: dict[int, int] = dict.fromkeys(outputs, end)
        for index, call in enumerate(calls):
            for value in call.inputs:
                last[value] = max(last.get(value, 0), index)

        def add(value: int, storage: int, offset: int = 0) -> None:
            meta = self._values[value]
            tensor_of[value] = len(tensors)
            tensors.append(TensorSpec(len(tensors), meta.shape, meta.stride, meta.dtype, storage, offset))

        def add_storage(value: int, role: Role, name: str, born: int) -> None:
            meta = self._values[value]
            spec = TensorSpec(0, meta.shape, meta.stride, meta.dtype, 0)
            dies = last.get(value, born)
            storages.append(Storage(len(storages), spec.nbytes, meta.dtype, role, name, born, dies))
            add(value, len(storages) - 1)

        used = {value for call in calls for value in call.inputs} | set(inputs) | set(outputs)
        for value, (storage, spec) in self._roots.items():
            if value in used and storage in place:
                add(value, place[storage], spec.offset)
            elif value in used:  # a tensor that Python made from data while the model ran
                add_storage(value, Role.CONSTANT, "", -1)
        for value in self._constants:
            if value in used:
                add_storage(value, Role.CONSTANT, "", -1)
        for index, call in enumerate(calls):
            for value in call.outputs:
                add_storage(value, Role.ACTIVATION, call.module, index)
        return replace(
            self._graph,
            storages=tuple(storages),
            tensors=tuple(tensors),
            ops=tuple(
                [
                    Op(index, call.target, call.module, call.args, call.kwargs, call.inputs, call.outputs)
                    for index, call in enumerate([_renumbered(call, tensor_of, call.module) for call in calls])
                ]
            ),
            inputs=tuple(tensor_of[value] for value in inputs),
            outputs=tuple(tensor_of[value] for value in outputs),
            parameters=_replaced(self._graph.parameters, place),
            buffers=_replaced(self._graph.buffers, place),
        )


def _moved(storage: Storage, index: int, end: int, dtype: Callable[[str], str]) -> Storage:
    """Return `storage` at a new position, alive throughout, its elements in `dtype` of what they were."""
    new = dtype(storage.dtype)
    nbytes = storage.nbytes // ITEMSIZE[storage.dtype] * ITEMSIZE[new] if new in FLOATING else storage.nbytes
    return storage._replace(id=index, nbytes=nbytes, dtype=new, dies=end)


def _replaced(names: Mapping[str, tuple[int, ...]], place: Mapping[int, int]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(place[s] for s in storages) for name, storages in names.items()}


def _without_dead(calls: Sequence[Call], outputs: Sequence[int]) -> list[Call]:
    """Return the calls that `outputs` depend on: core ATen is functional, so nothing else has an effect."""
    needed = set(outputs)
    kept = []
    for call in reversed(calls):
        if not needed.isdisjoint(call.outputs) or not call.outputs:  # without outputs: it writes back
            needed.update(call.inputs)
            kept.append(call)
    return kept[::-1]


def _written_through_views(graph: TracedGraph) -> frozenset[int]:
    """Return the storages where a write reaches a tensor other than the one written to.

    That is where the written tensor is itself a view, or where another tensor over the storage is read later on.
    """
    written: set[int] = set()
    bases: set[int] = set(range(len(graph.tensors))) - {t for op in graph.ops for t in op.outputs}
    last_read: dict[int, int] = dict.fromkeys(graph.outputs, len(graph.ops))
    by_storage: dict[int, list[int]] = {}
    for op in graph.ops:
        for t in op.inputs:
            last_read[t] = max(last_read.get(t, -1), op.index)
    for spec in graph.tensors:
        by_storage.setdefault(spec.storage, []).append(spec.id)
    for op in graph.ops:
        own = {graph.tensors[t].storage: t for t in op.inputs}
        mutable = _operator(op.target)._schema.is_mutable
        for t in op.outputs:
            storage = graph.tensors[t].storage
            if storage not in own:
                bases.add(t)
                continue
            if not mutable:
                continue
            source = next((i for i in op.inputs if graph.tensors[i].storage == storage), t)
            if source in bases:
                bases.add(t)
            others = (u for u in by_storage[storage] if u < t and u != source)
            if source not in bases or any(last_read.get(u, -1) > op.index for u in others):
                written.add(storage)
    return frozenset(written)


# ---- arguments


def _operator(target: str) -> Operator:
    """Return the operator called `aten.conv2d.default`."""
    operator = _OPERATORS.get(target)
    if operator is None:
        namespace, name, overload = target.split(".")
        try:
            operator = getattr(getattr(getattr(torch.ops, namespace), name), overload)
        except AttributeError:
            raise TraceError(
                f"The operator {target} is not registered in this process.", "Import the package that defines it."
            ) from None
        _OPERATORS[target] = operator
    return operator


def _meta(tensor: Tensor) -> Meta:
    return Meta(tuple(int(n) for n in tensor.shape), tuple(int(n) for n in tensor.stride()), name_of(tensor.dtype))


def _constant(text: str) -> object:
    """Return torch's own object behind a name in the graph: `float32`, `strided`, `contiguous_format`, `cpu`."""
    if text in ("cpu", "meta") or text.startswith(("cuda", "mps", "cpu:")):
        return torch.device("cpu")
    value = getattr(torch, text, None)
    return value if isinstance(value, torch.dtype | torch.layout | torch.memory_format) else text


def _rebuild(arg: Arg, tensors: Sequence[Tensor]) -> object:
    if isinstance(arg, Ref):
        return tensors[int(arg)]
    if isinstance(arg, tuple):
        return [_rebuild(item, tensors) for item in arg]
    return _constant(arg) if isinstance(arg, str) else arg


def _describe(arg: object, number: Callable[[Tensor], int]) -> Arg:
    if isinstance(arg, Tensor):
        return Ref(number(arg))
    if isinstance(arg, list | tuple):
        return tuple(_describe(item, number) for item in arg)
    if arg is None or isinstance(arg, bool | int | float | complex | str):
        return arg
    return name_of(arg)


def _renumber(arg: Arg, numbers: Mapping[int, int]) -> Arg:
    if isinstance(arg, Ref):
        return Ref(numbers[arg])
    if isinstance(arg, tuple):
        return tuple([_renumber(item, numbers) if isinstance(item, (Ref, tuple)) else item for item in arg])
    return arg


def _renumbered(call: Call, numbers: Mapping[int, int], module: str) -> Call:
    """Return `call` over the values that `numbers` has for its own, as run by `module`."""
    target, args, kwargs, inputs, outputs, metas, _ = call
    return Call(
        target,
        tuple([_renumber(arg, numbers) for arg in args]),
        tuple([(name, _renumber(arg, numbers)) for name, arg in kwargs]),
        tuple([numbers[i] for i in inputs]),
        tuple([numbers[i] for i in outputs]),
        metas,
        module,
    )


def _refs(arg: Arg) -> Iterator[int]:
    if isinstance(arg, Ref):
        yield int(arg)
    elif isinstance(arg, tuple):
        for item in arg:
            yield from _refs(item)
