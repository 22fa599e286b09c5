"""An eager-level trace to the core ATen graph that `torch.export` and `run_decompositions` make of the same model.

Each operator of the trace is replayed under the modes that PyTorch's own export uses: functionalisation, then a
recorder in the place of the proxy tracer that applies the decomposition table, then fake tensors on the CPU. What one
operator becomes depends on the shapes, strides, dtypes and constants of its arguments only, so it is learned once a
process and then written down without running anything. Only where storage is written through a view do the tensors
themselves stay alive between operators, so that functionalisation can regenerate what the write reached.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import NamedTuple

from edgebudget.graph import FLOATING, ITEMSIZE, NUMBERS, Arg, Op, Ref, Role, Storage, TensorSpec, TracedGraph
from edgebudget.tracing.export_modes import Engine, Meta
from edgebudget.tracing.groups import Group
from edgebudget.tracing.replay import Running, operator
from edgebudget.tracing.rules import REFS, reach
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
from edgebudget.tracing.written import written

_MAX_TEMPLATES = 100_000  # bounds memory in a long-lived process


_TEMPLATES: dict[tuple[object, ...], Template] = {}
_FORMS: dict[tuple[object, ...] | None, Template] = {}  # one template of each form


def decompose(graph: TracedGraph, floating_dtype: str = "float32") -> TracedGraph:
    """Return `graph` as functional core ATen: every tensor made once and owning its storage, nothing dead.

    Lifetimes run from the operator that makes a tensor to the last that reads it. `floating_dtype` takes the place of
    float32 throughout, as in a model that was converted before export. Weights and inputs keep their storages.

    Raises TraceError for an operator that PyTorch cannot decompose or that is not registered in this process.
    """
    return _Decomposer(graph, floating_dtype).run()


def keeps_types(graph: TracedGraph) -> bool:
    """Return whether `graph`, in float32, becomes the same in another floating-point type, but for the type."""
    return (
        graph.floating_dtypes <= {"float32"}
        and all(map(keeps_type, graph.ops))
        and not any("float32" in op.args or "float32" in dict(op.kwargs).values() for op in graph.ops)
    )


class _Made(NamedTuple):
    """A call of a template over the values of one graph; `values` has them by their numbers in the template."""

    call: Call
    inputs: Sequence[int]
    outputs: Sequence[int]
    values: Mapping[int, int]
    module: str


class _Decomposer:
    def __init__(self, graph: TracedGraph, floating_dtype: str) -> None:
        self._graph = graph
        self._floating = floating_dtype
        self._modes = ExitStack()
        self._made_engine: Engine | None = None
        self._values: list[Meta] = []
        self._calls: list[_Made] = []
        self._roots: dict[int, tuple[int, TensorSpec]] = {}  # value, to the storage it stands in and its spec
        self._constants: list[int] = []
        self._value_of: dict[int, int] = {}  # tensor of the trace, to value
        self._shared: dict[tuple[object, ...], int] = {}
        self._groups = _groups(graph, self._engine, floating_dtype)
        self._entered: list[int] = []  # tensors from before the forward that stand in a group
        self._module = ""  # of the operator at hand
        self._written: dict[int, int] = {}  # storage from before the forward, to the value written to it last

    def run(self) -> TracedGraph:
        with self._modes:
            for op in self._graph.ops:
                self._replay(op)
            outputs = tuple([self._value(t) for t in self._graph.outputs])
            self._write_back()
        inputs = tuple([self._value(t) for t in self._graph.inputs])
        return self._finish(inputs, outputs)

    def _engine(self) -> Engine:
        """Return the modes of export, entered when they are first needed: most models need none."""
        if self._made_engine is None:
            self._made_engine = Engine()
            self._modes.enter_context(self._made_engine.entered())
        return self._made_engine

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
        group = self._groups.get(self._graph.tensors[tensor].storage) if self._groups else None
        if group is not None and tensor in group.positions:
            template = group.read(group.positions[tensor])
            self._write_down(template, group.values)
            return group.values[template.outputs[0]]
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
        clone = Call("aten.clone.default", (Ref(0),), (), (0,), (1,), (meta,))
        self._calls.append(_Made(clone, (constant,), (copy,), {0: constant, 1: copy}, self._module))
        return copy

    # ---- operators

    def _replay(self, op: Op) -> None:
        self._module = op.module
        entered = self._group_of(op.inputs) if self._groups else None
        if entered is not None:
            self._replay_in(entered, op)
            return
        positions: dict[int, Ref] = {}
        local: dict[int, Ref] = {}
        for tensor in op.inputs:
            value = self._value(tensor)
            if value not in positions:
                positions[value] = Ref(len(positions))
            local[tensor] = positions[value]
        arguments = list(positions)
        args = tuple([self._localise(arg, local) for arg in op.args])
        kwargs = tuple([(name, self._localise(arg, local)) for name, arg in op.kwargs])
        metas = tuple([self._values[value] for value in arguments])
        key = (op.target, args, kwargs, metas, _kinds(args), _kinds(kwargs))
        template = _TEMPLATES.get(key)
        if template is None:
            form = form_of(op.target, (typed(args), typed(kwargs)), metas)
            shapes = [self._graph.tensors[t].shape for t in op.outputs]
            template = (
                written(op.target, args, kwargs, metas, shapes)
                or self._derived(op, args, kwargs, metas, form)
                or Running(self._engine()).run(op, self._graph.name, args, kwargs, metas)
            )
            if len(_TEMPLATES) < _MAX_TEMPLATES:
                _TEMPLATES[key] = template
                _FORMS.setdefault(form, template)
        begun = self._group_of(op.outputs) if self._groups else None
        if begun is not None and _makes_views(template):
            self._replay_in(begun, op)
        else:  # what it makes enters its group when something else is done to it
            self._instantiate(op, template, arguments)

    def _derived(
        self,
        op: Op,
        args: tuple[Arg, ...],
        kwargs: tuple[tuple[str, Arg], ...],
        metas: tuple[Meta, ...],
        form: tuple[object, ...] | None,
    ) -> Template | None:
        """Return what `op` becomes from what was learned of one of other sizes, or of the same in float32."""
        known = _FORMS.get(form) if form else None
        found = resized(known, self._graph.tensors[op.outputs[0]].shape) if known else None
        is_mixed = "float32" in [meta.dtype for meta in metas]  # also so where all are float32, as they were learned
        if found is None and not is_mixed and keeps_type(op):
            in_float32 = retyped_metas(metas, self._floating, "float32")
            known = _TEMPLATES.get((op.target, args, kwargs, in_float32, _kinds(args), _kinds(kwargs)))
            found = retyped(known, "float32", self._floating) if known else None
        return found

    def _localise(self, arg: Arg, local: Mapping[int, Ref]) -> Arg:
        if isinstance(arg, Ref):
            return local[arg]
        if isinstance(arg, tuple):
            return tuple([self._localise(item, local) for item in arg])
        return self._dtype(arg) if isinstance(arg, str) else arg

    def _instantiate(self, op: Op, template: Template, arguments: list[int]) -> None:
        values = dict(enumerate(arguments))
        self._write_down(template, values)
        self._rebind(op, arguments, template, values)
        for tensor, number in zip(op.outputs, template.outputs, strict=True):
            self._value_of[tensor] = values[number]

    def _write_down(self, template: Template, values: dict[int, int]) -> None:
        """Add the calls of a template. `values` has those that its numbers stand for, and those that it makes after."""
        for number, meta in template.constants:
            values[number] = self._new(meta)
            self._constants.append(values[number])
        made = self._values
        for call in template.calls:
            first = len(made)
            made += call.metas
            outputs = range(first, len(made))
            values.update(zip(call.outputs, outputs, strict=True))
            inputs = [values[number] for number in call.inputs]
            self._calls.append(_Made(call, inputs, outputs, values, self._module))

    def _rebind(self, op: Op, arguments: Sequence[int], template: Template, values: Mapping[int, int]) -> None:
        """Have the tensors that `op` wrote to stand for what it wrote."""
        for argument, number in template.rebound:
            old, new = arguments[argument], values[number]
            for tensor in op.inputs:
                if self._value_of.get(tensor) == old:
                    self._value_of[tensor] = new
                    self._written[self._graph.tensors[tensor].storage] = new

    # ---- storages that are written through views

    def _group_of(self, tensors: Sequence[int]) -> Group | None:
        """Return the group that one of the trace's `tensors` belongs to."""
        specs, groups = self._graph.tensors, self._groups
        return next((groups[storage] for t in tensors if (storage := specs[t].storage) in groups), None)

    def _replay_in(self, group: Group, op: Op) -> None:
        """Replay `op` where functionalisation keeps track of who views what."""
        tensors, groups = self._graph.tensors, self._groups
        arguments: list[int] = []
        local: dict[int, Ref] = {}
        entering = []
        for tensor in dict.fromkeys(op.inputs):
            if tensor in group.positions:
                local[tensor] = Ref(~group.positions[tensor])
            else:
                if tensors[tensor].storage in groups:
                    entering.append((len(arguments), tensor))
                local[tensor] = Ref(len(arguments))
                arguments.append(self._value(tensor))
        staying = [(i, t) for i, t in enumerate(op.outputs) if tensors[t].storage in groups]
        template = group.run(
            op,
            tuple([self._localise(arg, local) for arg in op.args]),
            tuple([(name, self._localise(arg, local)) for name, arg in op.kwargs]),
            tuple([self._values[value] for value in arguments]),
            tuple([i for i, _ in entering]),
            tuple([i for i, _ in staying]),
        )
        for _, tensor in (*entering, *staying):
            group.stay(tensor)
        self._entered += [tensor for _, tensor in entering]
        values = group.values
        values.update(enumerate(arguments, len(values)))
        self._write_down(template, values)
        self._rebind(op, arguments, template, values)
        for tensor, number in zip(op.outputs, template.outputs, strict=True):
            if number >= 0:
                self._value_of[tensor] = values[number]

    def _write_back(self) -> None:
        """Copy what was written to weights, buffers and inputs back into them, after all else, as export does."""
        roots = {storage: value for value, (storage, _) in reversed(self._roots.items())}
        for tensor in self._entered:
            if self._value_of[tensor] in self._roots:
                self._written[self._graph.tensors[tensor].storage] = self._value(tensor)
        for storage, value in self._written.items():
            root = roots.get(storage)
            if root is not None and root != value and self._graph.storages[storage].role is not Role.ACTIVATION:
                copy = Call("aten.copy_.default", (Ref(0), Ref(1)), (), (0, 1), (), ())
                self._calls.append(_Made(copy, (root, value), (), {0: root, 1: value}, ""))

    # ---- the new graph

    def _finish(self, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> TracedGraph:
        calls = _without_dead(self._calls, outputs)
        end = len(calls)
        if len(REFS) < len(self._values):
            reach(len(self._values))
        kept = [s for s in self._graph.storages if s.role is not Role.ACTIVATION]
        place = {s.id: i for i, s in enumerate(kept)}
        storages = [_moved(s, i, end, self._dtype) for i, s in enumerate(kept)]
        tensors: list[TensorSpec] = []
        tensor_of: dict[int, int] = {}
        last: dict[int, int] = dict.fromkeys(outputs, end)
        for index, call in enumerate(calls):
            last.update(dict.fromkeys(call.inputs, index))
        last.update(dict.fromkeys(outputs, end))

        def add(value: int, storage: int, offset: int = 0) -> None:
            meta = self._values[value]
            tensor_of[value] = len(tensors)
            tensors.append(TensorSpec(len(tensors), meta.shape, meta.stride, meta.dtype, storage, offset))

        def add_storage(value: int, role: Role, name: str, born: int) -> None:
            shape, stride, dtype = self._values[value]
            number, storage = len(tensors), len(storages)
            spec = TensorSpec(number, shape, stride, dtype, storage)
            tensor_of[value] = number
            tensors.append(spec)
            storages.append(Storage(storage, spec.nbytes, dtype, role, name, born, last.get(value, born)))

        used = {*last, *inputs}
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
            ops=tuple([_operation(index, call, tensor_of) for index, call in enumerate(calls)]),
            inputs=tuple(tensor_of[value] for value in inputs),
            outputs=tuple(tensor_of[value] for value in outputs),
            parameters=_replaced(self._graph.parameters, place),
            buffers=_replaced(self._graph.buffers, place),
        )


def _kinds(args: tuple[object, ...]) -> tuple[object, ...]:
    """Return what sets 1, 1.0, True and the second tensor apart, which are equal."""
    kinds: tuple[object, ...] = tuple(map(type, args))
    return (*kinds, *[_kinds(arg) for arg in args if isinstance(arg, tuple)]) if tuple in kinds else kinds


def _moved(storage: Storage, index: int, end: int, dtype: Callable[[str], str]) -> Storage:
    """Return `storage` at a new position, alive throughout, its elements in `dtype` of what they were."""
    new = dtype(storage.dtype)
    nbytes = storage.nbytes // ITEMSIZE[storage.dtype] * ITEMSIZE[new] if new in FLOATING else storage.nbytes
    return storage._replace(id=index, nbytes=nbytes, dtype=new, dies=end)


def _replaced(names: Mapping[str, tuple[int, ...]], place: Mapping[int, int]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(place[s] for s in storages) for name, storages in names.items()}


def _without_dead(calls: Sequence[_Made], outputs: Sequence[int]) -> list[_Made]:
    """Return the calls that `outputs` depend on: core ATen is functional, so nothing else has an effect."""
    needed = set(outputs)
    kept = []
    for call in reversed(calls):
        if not needed.isdisjoint(call.outputs) or not call.outputs:  # without outputs: it writes back
            needed.update(call.inputs)
            kept.append(call)
    return kept[::-1]


def _groups(graph: TracedGraph, engine: Callable[[], Engine], floating_dtype: str) -> dict[int, Group]:
    """Return the groups of the storages that are written through views: those that an operator touches together."""
    groups: dict[int, Group] = {}
    written = _written_through_views(graph)
    together = {storage: {storage} for storage in written}
    for op in graph.ops if written else ():
        touched = {graph.tensors[t].storage for t in (*op.inputs, *op.outputs)} & written
        joined = set().union(*[together[storage] for storage in touched])
        together.update(dict.fromkeys(joined, joined))
    for joined in together.values():
        if groups.keys().isdisjoint(joined):
            groups.update(dict.fromkeys(joined, Group(engine, graph.name, floating_dtype)))
    return groups


def _makes_views(template: Template) -> bool:
    """Whether a result is a view of what was made on the way to it: what is written to it reaches that too."""
    views = {number for call in template.calls if operator(call.target).is_view for number in call.outputs}
    return not views.isdisjoint(template.outputs)


def _drops_nothing(op: Op) -> bool:
    return op.target == "aten.dropout_.default" and op.args[2:] == (False,)


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
        mutable = operator(op.target)._schema.is_mutable and not _drops_nothing(op)
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


def _operation(index: int, made: _Made, tensor_of: Mapping[int, int]) -> Op:
    """Return a call as an operator over tensors."""
    call, inputs, outputs, values, module = made
    refs = {number: REFS[tensor_of[values[number]]] for number in call.inputs}
    return Op(
        index,
        call.target,
        module,
        tuple([_placed(arg, refs) for arg in call.args]),
        tuple([(name, _placed(arg, refs)) for name, arg in call.kwargs]) if call.kwargs else (),
        tuple([tensor_of[value] for value in inputs]),
        tuple([tensor_of[value] for value in outputs]),
    )


def _placed(arg: Arg, refs: Mapping[int, Ref]) -> Arg:
    """Return an argument with the references that `refs` has in the place of its own."""
    if isinstance(arg, Ref):
        return refs[arg]
    if isinstance(arg, tuple) and not NUMBERS.issuperset(map(type, arg)):
        return tuple([_placed(item, refs) for item in arg])
    return arg
