"""ExecuTorch with its portable kernels and no delegate: one planned arena, weights read where the file is mapped."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from edgebudget.dtypes import DTYPES, DtypeOption, once_per_option
from edgebudget.graph import ITEMSIZE, TracedGraph
from edgebudget.planning import ArenaPlan, Buffer, align, live_bytes
from edgebudget.planning.executorch_greedy import executorch_greedy
from edgebudget.runtimes._core_aten import becomes_the_same, to_core_aten
from edgebudget.runtimes._eigen import packed_bytes
from edgebudget.runtimes._executorch_edge import Placed, Program, Step, lower, place, retyped
from edgebudget.runtimes._executorch_kernels import WITH_UNKNOWN_SCRATCH, over_volumes
from edgebudget.runtimes._executorch_values import (
    CONSTANT_ALIGNMENT,
    Census,
    census,
    loading_bytes,
    method_heap_bytes,
    program_bytes,
)
from edgebudget.runtimes._glibc import PAGE_BYTES, usable_bytes
from edgebudget.runtimes._half_range import beyond_half
from edgebudget.runtimes.interface import LiveTensor, MemoryLayout, OnDemand, PeakOp, Unsupported
from edgebudget.target import Target

FLOATING_OPTIONS = frozenset({"float32", "float16", "bfloat16"})
"""Options that the portable kernels compute in (kernels/portable/cpu, ET_SWITCH_*HBF16_TYPES)."""

IDLE_BYTES, FIRST_RUN_BYTES = 5_300_000, 600_000
"""What a process of its own takes whatever the model: 5.3 MB (`VmHWM`) once ExecuTorch and its kernels are loaded, and
0.6 MB of code that is first touched when a model runs: loading touches at most 64 KiB of code in the programs of the
set to build on. Measured on x86-64 Linux, executorch 1.5.1 and a C++ runner."""

KERNEL_BYTES = 123_000
"""What each kind of operator in a program adds to that: the pages of its kernel's code. With `FIRST_RUN_BYTES`, the
least squares over the file pages beyond the model's file of 13 models of the set to build on, within 0.42 MB of each.
"""

MODULE_BYTES = 1_304
"""What `Module` allocates beside the method: loader, program, allocators, maps. Measured on x86-64 Linux with
executorch 1.5.1, the same to 40 bytes for every model of the set to build on."""


@dataclass(frozen=True)
class _Planned:
    """Everything about a program that no target changes."""

    program: Program
    placed: tuple[Placed, ...]
    plan: ArenaPlan  # lifetimes in steps
    values: Census
    constant_bytes: int
    curve: tuple[int, ...]
    peak_numel: int
    scratch_bytes: int
    described_bytes: int  # of the file: all but constants
    unmodelled: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _ExecuTorch:
    name: str = "executorch"
    description: str = (
        "ExecuTorch 1.5.1 with portable kernels: the graph decomposed to core ATen, planned by its greedy planner; "
        "constants stay in the mapped file."
    )

    def lay_out(self, graph: TracedGraph, option: DtypeOption, target: Target) -> MemoryLayout | Unsupported:
        """Return the arena, byte for byte as `to_executorch` plans it, and what loading the method takes besides."""
        if option.name not in FLOATING_OPTIONS:
            return Unsupported(
                "ExecuTorch's portable kernels have no quantized operators and one floating-point type a program: "
                f"{option.name} cannot be lowered for them."
            )
        if graph.truncation:
            return Unsupported(f"torch.export cannot follow the model: {graph.truncation.reason}")
        beyond = beyond_half(graph) if option.name == "float16" else None
        if beyond:
            return Unsupported(beyond)
        planned = _plan(graph, option)
        refused = planned.program.refused
        if refused:
            return Unsupported(f"ExecuTorch has no kernel for {', '.join(refused)} and refuses to lower the model.")
        return lacking_kernels(graph, planned.program.missing) or _layout(planned, target)


def lacking_kernels(graph: TracedGraph, missing: Sequence[str]) -> Unsupported | None:
    """Return why a program of `graph` with the operators `missing` does not run; None where it does."""
    missing = (*missing, *over_volumes(graph))
    if not missing:
        return None
    return Unsupported(
        f"ExecuTorch lowers the model, and refuses to load or to run it: it has no kernel for {', '.join(missing)}. "
        "Replace the operator, or bring a kernel of your own and estimate without it."
    )


def _layout(planned: _Planned, target: Target) -> MemoryLayout:
    steps, plan, curve = planned.program.steps, planned.plan, planned.curve
    peak = max(curve)
    at = curve.index(peak)
    word = target.pointer_bytes
    workspace = planned.scratch_bytes
    heap = usable_bytes(plan.nbytes, pointer_bytes=word) + method_heap_bytes(planned.values, word) + MODULE_BYTES
    described = planned.described_bytes
    storage = described + planned.constant_bytes
    run_bytes = FIRST_RUN_BYTES + KERNEL_BYTES * len(planned.values.operators)
    in_ram = target.weights_in == "ram"
    return MemoryLayout(
        activation_lower_bound_bytes=peak,
        activation_bytes=plan.nbytes,
        activation_total_bytes=sum([b.nbytes for b in plan.buffers]),
        activation_peak_numel=planned.peak_numel,
        workspace_bytes=workspace,
        load_heap_bytes=heap + loading_bytes(planned.values, word),
        inference_heap_bytes=heap + workspace,
        load_mapped_bytes=align(described, PAGE_BYTES) if in_ram else 0,
        inference_mapped_bytes=align(storage, PAGE_BYTES) if in_ram else 0,
        storage_bytes=storage,
        runtime_bytes=IDLE_BYTES + run_bytes,
        load_kept_bytes=-run_bytes,
        peak_op=PeakOp(at, steps[at].target if steps else "", steps[at].module if steps else ""),
        timeline=OnDemand(partial(_timeline, planned)),
        tensors=OnDemand(partial(_tensors, planned)),
        arena=plan,
        unmodelled_ops=planned.unmodelled,
        notes=("Constants are read where the file is mapped; their pages can be reclaimed when memory is short.",)
        if in_ram
        else ("Constants are read in place from flash.",),
    )


@once_per_option
def _plan(graph: TracedGraph, option: DtypeOption) -> _Planned:
    """Return the plan of `graph` with its floating-point numbers in the type that the option is named after."""
    if option.name != "float32" and becomes_the_same(graph):
        single = _plan(graph, DTYPES.get("float32"))
        program = retyped(single.program, option.name)
        if program is not None:
            return _make_plan(program, single.values)
    program = lower(to_core_aten(graph, option.name))
    return _make_plan(program, census(program))


def _make_plan(program: Program, values: Census) -> _Planned:
    placed = place(program)
    plan = executorch_greedy([p.buffer for p in placed])
    by_step = tuple([Buffer(spec, buffer.nbytes, first, last) for spec, buffer, first, last in placed])
    curve = tuple(live_bytes(by_step, max(len(program.steps), 1)))
    at = curve.index(max(curve))
    alive = [p for p in placed if p.first_step <= at <= p.last_step]
    targets = dict.fromkeys([step.target for step in program.steps if step.target != "view"])
    return _Planned(
        program=program,
        placed=placed,
        plan=ArenaPlan(by_step, plan.offsets, plan.nbytes),
        values=values,
        constant_bytes=_constant_bytes(program),
        curve=curve,
        peak_numel=sum([p.buffer.nbytes // ITEMSIZE[program.specs[p.spec].dtype] for p in alive]),
        scratch_bytes=max([_scratch_bytes(program, step) for step in program.steps], default=0),
        described_bytes=program_bytes(values),
        unmodelled=tuple([t for t in targets if not t.startswith("aten.") or t in WITH_UNKNOWN_SCRATCH]),
    )


def _constant_bytes(program: Program) -> int:
    """Return the bytes of all constants, aligned.

    Parameters that nothing reads are left out of the file, buffers are not. Equal scalars are stored once; other equal
    constants would be too, but a trace without weights cannot tell.
    """
    read = {spec for step in program.steps for spec in step.reads} | set(program.outputs)
    constants = [program.specs[spec] for spec in read if program.specs[spec].constant]
    stored = {spec.storage: spec.nbytes for spec in constants if spec.storage >= 0}
    scalars = {(spec.dtype, spec.value) for spec in constants if spec.storage < 0}
    sizes = [*stored.values(), *(ITEMSIZE[dtype] for dtype, _ in scalars)]
    # These count how many batches were seen: the same everywhere, so stored once.
    counters = {spec.nbytes for spec in program.unused}
    return sum(align(nbytes, CONSTANT_ALIGNMENT) for nbytes in (*sizes, *counters))


def _scratch_bytes(program: Program, step: Step) -> int:
    """Return what the kernel of `step` allocates while it runs: topk's queue (op_topk.cpp), and the blocks of matrices
    that Eigen's product packs (op_mm.cpp, op_bmm.cpp of the optimized kernels); no other does.

    The queue holds a value and an index, 16 bytes, for each element along the dimension.
    """
    if step.target in ("aten.mm.default", "aten.bmm.default"):
        left, right = (program.specs[spec] for spec in step.reads[:2])
        if left.dtype != "float32":
            return 0
        return packed_bytes(left.shape[-2], left.shape[-1], right.shape[-1])
    if step.target != "aten.topk.default":
        return 0
    shape = program.specs[step.reads[0]].shape
    dimension = step.args[2] if len(step.args) > 2 and isinstance(step.args[2], int) else -1
    return 16 * shape[dimension] if shape else 16


def _timeline(planned: _Planned) -> Iterator[tuple[str, int]]:
    return ((_label(step), alive) for step, alive in zip(planned.program.steps, planned.curve, strict=False))


def _tensors(planned: _Planned) -> Iterator[LiveTensor]:
    for p, offset in zip(planned.placed, planned.plan.offsets, strict=True):
        yield LiveTensor(_name(planned, p), p.buffer.nbytes, max(p.first_step, 0), max(p.last_step, 0), offset)


def _label(step: Step) -> str:
    return f"{step.module}: {_short(step)}"


def _short(step: Step) -> str:
    return step.target.split(".")[1] if "." in step.target else step.target


def _name(planned: _Planned, placed: Placed) -> str:
    if placed.spec in planned.program.inputs:
        return f"input {planned.program.inputs.index(placed.spec)}"
    return _label(planned.program.steps[placed.first_step])


RUNTIME = _ExecuTorch()
