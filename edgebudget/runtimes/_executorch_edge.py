"""A core ATen graph to the program that ExecuTorch plans: its edge passes, on frozen values.

The passes are those of `to_edge` and `to_executorch` in executorch 1.5.1 with their default options
(exir/passes/__init__.py, `base_pre_op_replace_passes`; exir/program/_program.py, `edge_to_executorch_passes`):

- views become copies, scalars where a tensor is expected become constants, slices of everything and empty parts of a
  concatenation go, and operands of mixed types are cast (RemoveMixedTypeOperators), constants too;
- `view_copy` becomes a view of the memory it reads, unless the program returns it;
- every operator writes to tensors allocated by nodes just before it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from edgebudget.graph import FLOATING, ITEMSIZE, NUMBERS, WEIGHT_ROLES, Arg, Op, Ref, Role, TracedGraph, refs_in
from edgebudget.planning import Buffer
from edgebudget.runtimes._executorch_kernels import without_kernel

_PROMOTED = {"aten.add.Tensor": False, "aten.mul.Tensor": False, "aten.sub.Tensor": False,
             "aten.minimum.default": False, "aten.div.Tensor": True, "aten.div.Tensor_mode": False}  # fmt: skip
"""Operators whose operands RemoveMixedTypeOperators casts, and whether integers become floating-point."""

_DEFAULT_LAYOUT_ONLY = {"aten._adaptive_avg_pool2d.default", "aten.avg_pool2d.default", "aten.expand_copy.default",
                        "aten.mean.dim", "aten.sum.dim_IntList"}  # fmt: skip
"""Operators whose portable kernels take contiguous input only (LegalizePortableDimOrderPass copies it for them)."""

_ACCEPTED = {"aten.mkldnn_rnn_layer.default", "aten._upsample_bilinear2d_aa.default", "aten.dequantize.self",
             "aten.quantize_per_tensor.default", "aten.max.default", "aten.min.default", "aten.full_like.default",
             "aten.scalar_tensor.default", "aten.copy_.default"}  # fmt: skip
"""Operators outside core ATen that `to_edge` accepts (exir/verification/verifier.py), and the copy it makes itself."""

_ACTIVATION = Role.ACTIVATION  # looked up in the enum, it takes twice as long
_ORDER = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64", "complex64")


class Spec(NamedTuple):
    """A tensor of the program: what it takes, and whether it is a constant of the file."""

    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    constant: bool
    storage: int  # of the core graph, -1 where a pass made it
    value: bool | int | float = 0  # of a scalar that a pass made a constant of


class Step(NamedTuple):
    """One node that runs: `aten.relu.default`, or `view`, which runs nothing and shares its base's memory."""

    target: str
    module: str
    args: tuple[Arg, ...]
    kwargs: tuple[tuple[str, Arg], ...]
    reads: tuple[int, ...]
    writes: tuple[int, ...]


@dataclass(frozen=True)
class Program:
    """What ExecuTorch runs: `specs` by number, `steps` in order, and the numbers of inputs and outputs.

    `mutable` are buffers and inputs of the model that the program writes to. `unused` are buffers that no step reads;
    they are in the file all the same. `refused` are operators that ExecuTorch does not lower, `missing` those that it
    lowers and has no kernel for when the program is loaded.
    """

    specs: tuple[Spec, ...]
    steps: tuple[Step, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    mutable: tuple[int, ...] = ()
    unused: tuple[Spec, ...] = ()
    refused: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class Placed(NamedTuple):
    """A planned buffer: the spec, the node indices it is alive at, and the steps that covers, from -1 for inputs."""

    spec: int
    buffer: Buffer
    first_step: int
    last_step: int


class _Facts(NamedTuple):
    """What the passes ask of an operator's schema."""

    is_view: bool
    takes_tensor: tuple[bool, ...]  # by position
    tensor_arguments: frozenset[str]
    list_output: bool  # one list of tensors, such as `split_with_sizes` returns
    lowers: bool


@cache
def _facts(target: str) -> _Facts:
    import torch  # only here: a program is made where a model was traced

    namespace, name, overload = target.split(".")
    packet = getattr(getattr(torch.ops, namespace), name)
    operator = getattr(packet, overload)
    schema = operator._schema
    tensors = frozenset(a.name for a in schema.arguments if isinstance(a.type, torch.TensorType))
    returns = schema.returns
    return _Facts(
        bool(operator.is_view),
        tuple([a.name in tensors for a in schema.arguments]),
        tensors,
        len(returns) == 1 and isinstance(returns[0].type, torch.ListType),
        target in _ACCEPTED or torch.Tag.core in operator.tags or torch.Tag.view_copy in operator.tags
        if namespace == "aten"
        else any("out" in other for other in packet.overloads()),
    )


@cache
def edge_target(target: str) -> str:
    """Return the operator of the edge dialect for one of core ATen: views become copies."""
    namespace, name, overload = target.split(".")
    return f"aten.{name}_copy.{overload}" if namespace == "aten" and _facts(target).is_view else target


def returns_list(step: Step) -> bool:
    """Whether the outputs of `step` are one list in its schema."""
    return step.target != "view" and _facts(step.target).list_output


def lower(graph: TracedGraph) -> Program:
    """Return the program that ExecuTorch makes of a core ATen `graph`."""
    return _Lowering(graph).run()


def retyped(program: Program, dtype: str) -> Program | None:
    """Return a `program` of float32 in another floating-point type, where its operators become the same in that.

    None where it may have other steps in that: scalars stay float32, and what meets them is cast.
    """
    if any(spec.storage < 0 for spec in program.specs):
        return None
    if any("float32" in step.args or "float32" in [arg for _, arg in step.kwargs] for step in program.steps):
        return None
    return replace(program, specs=_in_type(program.specs, dtype), unused=_in_type(program.unused, dtype))


def _in_type(specs: tuple[Spec, ...], dtype: str) -> tuple[Spec, ...]:
    size, single = ITEMSIZE[dtype], ITEMSIZE["float32"]
    return tuple(
        [
            Spec(spec.shape, dtype, spec.nbytes // single * size, spec.constant, spec.storage)
            if spec.dtype == "float32"
            else spec
            for spec in specs
        ]
    )


class _Lowering:
    def __init__(self, graph: TracedGraph) -> None:
        self._graph = graph
        self._specs: list[Spec] = []
        self._number: dict[int, int] = {}  # tensor of the graph, to spec
        self._ref: dict[int, Ref] = {}  # the same, as an argument
        self._steps: list[Step] = []
        self._permuted: set[int] = set()  # specs whose elements do not lie in the order of their dimensions
        self._mutable: list[int] = []

    def run(self) -> Program:
        inputs = tuple(self._spec_of(t) for t in self._graph.inputs)
        for op in self._graph.ops:
            self._lower(op)
        outputs = tuple(self._spec_of(t) for t in self._graph.outputs)
        steps = _without_dead(self._steps, outputs)
        steps = _without_dead(_with_views(steps, outputs), outputs)
        refused = dict.fromkeys(op.target for op in self._graph.ops if not _facts(op.target).lowers)
        return Program(
            specs=tuple(self._specs),
            steps=tuple(steps),
            inputs=inputs,
            outputs=outputs,
            mutable=tuple(self._mutable),
            unused=self._unused(),
            refused=tuple(refused),
            missing=without_kernel(step.target for step in steps),
        )

    def _unused(self) -> tuple[Spec, ...]:
        known = {spec.storage for spec in self._specs}
        ids = [s for storages in self._graph.buffers.values() for s in storages if s not in known]
        buffers = [self._graph.storages[s] for s in ids]
        return tuple([Spec((s.numel,), s.dtype, s.nbytes, True, s.id) for s in buffers])

    def _spec_of(self, tensor: int) -> int:
        number = self._number.get(tensor)
        if number is None:
            spec = self._graph.tensors[tensor]
            storage = self._graph.storages[spec.storage]
            role = storage.role
            nbytes = storage.nbytes if role is _ACTIVATION else spec.nbytes  # what was made is alone in its storage
            number = self._add(Spec(spec.shape, spec.dtype, nbytes, role in WEIGHT_ROLES, spec.storage))
            self._number[tensor] = number
            if role is Role.INPUT and _is_permuted(spec.stride):
                self._permuted.add(number)
        return number

    def _add(self, spec: Spec) -> int:
        self._specs.append(spec)
        return len(self._specs) - 1

    def _lower(self, op: Op) -> None:
        facts, target = _facts(op.target), op.target
        if target == "aten.copy_.default":
            buffer = self._spec_of(op.inputs[0])
            self._specs[buffer] = self._specs[buffer]._replace(constant=False)
            self._mutable.append(buffer)
        target = edge_target(target)
        if target == "aten.slice_copy.Tensor":
            source = self._spec_of(op.inputs[0])
            if self._specs[source].shape == self._graph.tensors[op.outputs[0]].shape:
                self._number[op.outputs[0]] = source
                return
        if target == "aten._to_copy.default" and self._copies_nothing(op):
            self._number[op.outputs[0]] = self._spec_of(op.inputs[0])
            return
        args = list(map(self._argument, op.args, facts.takes_tensor))
        kwargs = [(name, self._argument(arg, name in facts.tensor_arguments)) for name, arg in op.kwargs]
        if target == "aten.cat.default" and isinstance(args[0], tuple):
            args[0] = tuple(a for a in args[0] if isinstance(a, Ref) and 0 not in self._specs[a].shape)
        floating = _PROMOTED.get(target)
        if floating is not None and len(args) > 1:
            whole = floating or (target.endswith("_mode") and dict(op.kwargs).get("rounding_mode") is None)
            dtype = _promote([self._specs[a] for a in args if isinstance(a, Ref)], whole)
            args = [self._cast(arg, dtype, op.module) for arg in args]
        writes = tuple([self._spec_of(t) for t in op.outputs])
        if self._permuted and target in _DEFAULT_LAYOUT_ONLY and isinstance(args[0], Ref) and args[0] in self._permuted:
            copy = self._add(self._specs[args[0]]._replace(storage=-1, constant=False))
            self._step(
                "aten._to_copy.default", op.module, (args[0],), (("memory_format", "contiguous_format"),), (copy,)
            )
            args[0] = Ref(copy)
        self._step(target, op.module, tuple(args), tuple(kwargs), writes)
        if (kwargs or self._permuted) and self._is_permuted_output(target, args, dict(kwargs), writes):
            self._permuted.update(writes)

    def _is_permuted_output(
        self, target: str, args: list[Arg], kwargs: dict[str, Arg], writes: tuple[int, ...]
    ) -> bool:
        """Whether a kernel keeps the order in memory of what it reads, or is asked for channels last."""
        layout = kwargs.get("memory_format")
        if layout not in (None, "preserve_format"):
            return str(layout).startswith("channels_last")
        if not self._permuted or (target.split(".")[1].endswith("_copy") and target != "aten._to_copy.default"):
            return False
        dimensions = len(self._specs[writes[0]].shape) if writes else 0
        sources = {int(a) for a in refs_in(tuple(args))} & self._permuted
        return dimensions > 2 and any(len(self._specs[s].shape) == dimensions for s in sources)

    def _step(
        self,
        target: str,
        module: str,
        args: tuple[Arg, ...],
        kwargs: tuple[tuple[str, Arg], ...],
        writes: tuple[int, ...],
    ) -> None:
        reads = tuple(refs_in((*args, *[arg for _, arg in kwargs]) if kwargs else args))
        self._steps.append(Step(target, module, args, kwargs, reads, writes))

    def _argument(self, arg: Arg, tensor: bool) -> Arg:
        if isinstance(arg, Ref):
            ref = self._ref.get(arg)
            if ref is None:
                ref = self._ref[arg] = Ref(self._spec_of(arg))
            return ref
        if arg is None:
            return arg
        if isinstance(arg, tuple):
            return arg if NUMBERS.issuperset(map(type, arg)) else tuple([self._argument(item, False) for item in arg])
        if tensor and isinstance(arg, bool | int | float):
            dtype, nbytes = (
                ("bool", 1) if isinstance(arg, bool) else ("int64", 8) if isinstance(arg, int) else ("float32", 4)
            )
            return Ref(self._add(Spec((), dtype, nbytes, True, -1, arg)))
        return arg

    def _cast(self, arg: Arg, dtype: str, module: str) -> Arg:
        if not isinstance(arg, Ref) or self._specs[arg].dtype == dtype:
            return arg
        source = self._specs[arg]
        nbytes = source.nbytes // ITEMSIZE[source.dtype] * ITEMSIZE[dtype]
        made = self._add(Spec(source.shape, dtype, nbytes, False, -1))
        self._step("aten._to_copy.default", module, (arg,), (("dtype", dtype),), (made,))
        return Ref(made)

    def _copies_nothing(self, op: Op) -> bool:
        source, made = self._graph.tensors[op.inputs[0]], self._graph.tensors[op.outputs[0]]
        layout = dict(op.kwargs).get("memory_format")
        return source.dtype == made.dtype and (layout in (None, "preserve_format") or source.stride == made.stride)


def _with_views(steps: list[Step], outputs: tuple[int, ...]) -> list[Step]:
    """Have every `view_copy` read what the first of its chain reads (NormalizeViewCopyBasePass) and run nothing, unless
    it makes one of `outputs`."""
    base: dict[int, int] = {}
    result = []
    for step in steps:
        target, module, args, kwargs, reads, writes = step
        if target == "aten.view_copy.default":
            source = base[writes[0]] = base.get(reads[0], reads[0])
            kind = target if writes[0] in outputs else "view"
            step = Step(kind, module, (Ref(source), *args[1:]), kwargs, (source,), writes)
        result.append(step)
    return result


def _without_dead(steps: list[Step], outputs: tuple[int, ...]) -> list[Step]:
    needed = set(outputs)
    kept = []
    for step in reversed(steps):
        if not needed.isdisjoint(step.writes) or not step.writes:  # without any: it writes to a buffer
            needed.update(step.reads)
            kept.append(step)
    return kept[::-1]


def place(program: Program) -> tuple[Placed, ...]:
    """Return what is planned, in the order the planner meets it, with lifetimes in node indices, both inclusive.

    Inputs are alive from the start (index 0). Before an operator stand the nodes that allocate its outputs, after one
    with several outputs a node for each that is used; all of these count (exir/memory_planning.py,
    `update_all_tensors_lifetime`). Empty tensors take no part.
    """
    specs = program.specs
    base: dict[int, int] = {}
    first: dict[int, tuple[int, int]] = {}  # node and step
    last: dict[int, tuple[int, int]] = {}
    used = {spec for step in program.steps for spec in step.reads} | set(program.outputs)
    index = 1

    def touch(several: Iterable[int], node: int, step: int) -> None:
        moment = (node, step)
        for spec in several:
            spec = base.get(spec, spec)
            if spec not in first:
                first[spec] = moment
            last[spec] = moment

    touch((*[s for s in program.mutable if s not in program.inputs], *program.inputs), 0, -1)
    for number, step in enumerate(program.steps):
        target, _, _, _, reads, writes = step
        if target == "view":
            base[writes[0]] = base.get(reads[0], reads[0])
            touch(reads[:1], index, number)
            index += 1
            continue
        together = returns_list(step)
        if together:
            touch(writes, index, number)
            index += 1
        else:
            for spec in writes:
                touch((spec,), index, number)
                index += 1
        touch(reads + writes, index, number)
        index += 1
        if together or len(writes) > 1:
            for spec in writes:
                if spec in used:
                    touch(writes, index, number)
                    index += 1
    touch((*program.mutable, *program.outputs), index, max(len(program.steps) - 1, 0))
    placed = []
    for spec, (born, first_step) in first.items():
        nbytes = specs[spec].nbytes
        if nbytes and not specs[spec].constant:
            died, last_step = last[spec]
            placed.append(Placed(spec, Buffer(spec, nbytes, born, died), first_step, last_step))
    return tuple(placed)


def _promote(operands: list[Spec], to_floating: bool) -> str:
    """Return the type in which PyTorch computes an elementwise operator: a 0-d tensor only decides by its kind."""
    result = ""
    for group in ([s for s in operands if s.shape], [s for s in operands if not s.shape]):
        dtype = ""
        for spec in group:
            dtype = _wider(dtype, spec.dtype)
        if dtype and (not result or _kind(dtype) > _kind(result)):
            result = dtype
    return "float32" if to_floating and _kind(result) < 2 else result


def _kind(dtype: str) -> int:
    return 0 if dtype == "bool" else 2 if dtype in FLOATING else 3 if dtype.startswith("complex") else 1


def _wider(a: str, b: str) -> str:
    if not a or a == b:
        return b
    if {a, b} in ({"float16", "bfloat16"}, {"uint8", "int8"}):
        return "float32" if "float16" in (a, b) else "int16"
    return max(a, b, key=_ORDER.index)


def _is_permuted(stride: tuple[int, ...]) -> bool:
    return any(a < b for a, b in pairwise(stride))
