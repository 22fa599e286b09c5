"""ExecuTorch with the XNNPACK delegate: packed weights, a workspace, and an arena for what crosses delegates.

Modelled from ExecuTorch 1.5.1 and the XNNPACK it vendors, as its wheel and CMake presets build it: one workspace
shared by all delegates (EXECUTORCH_XNNPACK_SHARED_WORKSPACE), no weights cache (EXECUTORCH_XNNPACK_ENABLE_WEIGHT_CACHE
off), program file mapped.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from edgebudget.dtypes.interface import DtypeOption
from edgebudget.graph import TracedGraph, once_per_graph
from edgebudget.runtimes._glibc import usable_bytes
from edgebudget.runtimes._half_range import beyond_half
from edgebudget.runtimes._xnnpack.delegate import Delegate, price
from edgebudget.runtimes._xnnpack.method import DELEGATE_SLACK_BYTES
from edgebudget.runtimes._xnnpack.program import Program, compile_program
from edgebudget.runtimes._xnnpack.tiles import Tiles, tiles_for
from edgebudget.runtimes.executorch import lacking_kernels
from edgebudget.runtimes.interface import LiveTensor, MemoryLayout, OnDemand, PeakOp, Unsupported
from edgebudget.target import Target


@dataclass(frozen=True, slots=True)
class _Pages:
    """Bytes of pages of a standalone C++ process beside its heap and the model's file.

    `runtime` is what it holds once it has loaded any model; `tables` the more of that where tables are computed for
    int8 operators, which runs floating-point kernels. `unseen` is what `VmHWM` misses of a peak that passes: Linux
    counts pages by processor and adds them up 32 at a time ("mm: convert mm's rss stats into percpu_counter"), and what
    is mapped while loading is gone before it does. `first_run` is code that is first touched when a model runs,
    `quantized` the more of that where integers meet floats, `by_row` where rows are quantized as they come. Operators
    outside the delegates add `first_kernel` for what all portable kernels use, and `kernel` for the code of each kind:
    1 to 5 of the stretches of 64 KiB that the system maps at a time.
    """

    runtime: int
    tables: int
    unseen: int
    first_run: int
    quantized: int
    by_row: int
    first_kernel: int
    kernel: int

    def loaded(self, program: Program) -> int:
        """Return what loading `program` touches beyond `runtime`, and what is missed of its peak with a minus."""
        return self.tables * program.has_tables - self.unseen

    def touched(self, program: Program, kinds: int) -> int:
        """Return what running `program` has touched beyond `runtime` when `kinds` of portable kernels have run."""
        code = self.first_run + self.tables * program.has_tables + self.quantized * program.is_quantized
        code += self.by_row * program.quantizes_rows
        return code + self.first_kernel * (kinds > 0) + self.kernel * kinds


X86_PAGES = _Pages(6_070_000, 240_000, 210_000, 350_000, 100_000, 90_000, 260_000, 140_000)
"""On x86-64 Linux. An idle process takes 5.3 MB (`VmHWM`, its inputs left out) and loading touches 0.76 MB of code:
robust straight lines (soft L1, 50 KB) through 71 recorded programs to build on, float32 and int8. In the median they
lie within 0.03 MB of the code that loading touches, 0.07 of peaks while loading and 0.09 while running; where the
system places libraries is chance. `by_row` is the median of what 24 programs with dynamic and 4-bit weights took beyond
the rest. `VmHWM` was 0.12 to 0.29 MB under what the page tables had at six peaks while loading
(Linux 6.18, two processors)."""

ARM_PAGES = _Pages(5_450_000, 190_000, 160_000, 310_000, 70_000, 60_000, 160_000, 120_000)
"""The same on 64-bit Arm Linux (Debian 13, Linux 6.12, pages of 4 KiB, none huge), of 82 programs: 4.85 and 0.60 MB,
and in the median within 0.02, 0.05 and 0.06 MB. No board ran a program that quantizes rows: `by_row` is in
proportion."""

METHOD_BYTES = 4000
"""What loading leaves beside what is counted part by part: a thread pool of one thread (1,680) and the method with its
plan, values and allocators. 4.2 to 5.2 KB in two recorded float32 programs of one delegate."""

TENSOR_BYTES, CALL_BYTES = 112, 40
"""What `Method::init` keeps for a tensor (EValue, TensorImpl, strides) and for a call (its list of arguments)."""

KERNEL_CALL_BYTES = 600
"""What it keeps for a call of a kernel outside the delegates besides: each argument is a value, and its description
stays. 460 to 690 in the recorded programs to build on that have more than 30 such calls."""

SUPPORTED = frozenset({"float32", "float16", "int8", "int8-dynamic", "int4-weight-only"})

_REASONS = {
    "int8-weight-only": "ExecuTorch turns weights back to float32 when it lowers a program whose activations stay "
    "floating-point, so nothing is saved: take int8-dynamic, which has the same weights.",
    "bfloat16": "XNNPACK's bfloat16 kernels are not delegated to by ExecuTorch: take float16 or float32.",
}


@dataclass(frozen=True, slots=True)
class _ExecutorchXnnpack:
    name: str = "executorch-xnnpack"
    description: str = (
        "ExecuTorch with the XNNPACK delegate: weights packed at load beside the mapped file, one workspace planned by "
        "XNNPACK, indirection buffers at the first run, and an arena for inputs, outputs and what stays outside."
    )

    def lay_out(self, graph: TracedGraph, option: DtypeOption, target: Target) -> MemoryLayout | Unsupported:
        """Return the heap at the load and inference peaks, part by part, for the options in `SUPPORTED`.

        `inference_heap_bytes` is packed weights + `activation_bytes` + `workspace_bytes`, the last being indirection
        buffers, zero rows and XNNPACK's own structures. `Unsupported` for other options, and for float16 where the
        processor has no half-precision arithmetic. Pure.
        """
        options = option.by_operator(graph)
        asked = frozenset(options) or frozenset({option.name})
        for name in sorted(asked - SUPPORTED):
            return Unsupported(_REASONS.get(name, f"What the XNNPACK delegate takes under {name} is not modelled."))
        if "float16" in asked and len(asked) > 1:
            return Unsupported("XNNPACK's delegate computes in float16 throughout or not at all: do not mix it.")
        tiles = tiles_for(target)
        if "float16" in asked and tiles.f16_gemm is None:
            return Unsupported(
                "XNNPACK has no half-precision kernels for this processor and would compute in float32; use float32."
            )
        beyond = beyond_half(graph) if "float16" in asked else None
        if beyond:
            return Unsupported(beyond)
        program = compile_program(graph, option)
        lacking = lacking_kernels(graph, program.missing)
        if lacking:
            return lacking
        layouts = _layouts(graph)
        key = (option.name, id(tiles), target.is_x86)  # the tables are those in tiles.py: many devices have the same
        if key not in layouts:
            layouts[key] = _lay_out(program, tiles, X86_PAGES if target.is_x86 else ARM_PAGES)
        return layouts[key]


@once_per_graph
def _layouts(graph: TracedGraph) -> dict[tuple[str, int, bool], MemoryLayout]:
    return {}


def _lay_out(program: Program, tiles: Tiles, pages: _Pages) -> MemoryLayout:
    """Return how `program` lies in memory with the kernels of `tiles`. Pure."""
    edge, steps, plan, timeline, peak = program.edge, program.steps, program.plan, program.timeline, program.peak
    priced = [price(body, tiles) for body in program.bodies]
    delegates = {number: priced[body] for number, body in program.body_of.items()}
    arena = usable_bytes(plan.nbytes + (DELEGATE_SLACK_BYTES if delegates else 0))
    method = METHOD_BYTES + len(plan.buffers) * TENSOR_BYTES + len(steps) * CALL_BYTES
    method += program.kernel_calls * KERNEL_CALL_BYTES
    packed = sum([d.packed_bytes for d in delegates.values()])
    structures = sum([d.structure_bytes for d in delegates.values()])
    load_heap, load_mapped = _load_peaks(arena + method, program, delegates)
    added, workspace, resident = _first_run(program, delegates, pages)
    return MemoryLayout(
        activation_lower_bound_bytes=timeline[peak][2] if timeline else 0,
        activation_bytes=arena + workspace,
        activation_total_bytes=program.total_bytes,
        activation_peak_numel=program.numel[peak] if timeline else 0,
        workspace_bytes=method + structures + added - workspace,
        load_heap_bytes=load_heap,
        inference_heap_bytes=arena + method + packed + structures + added,
        load_mapped_bytes=load_mapped,
        inference_mapped_bytes=program.outside_bytes,
        storage_bytes=program.storage_bytes,
        runtime_bytes=pages.runtime,
        load_kept_bytes=pages.loaded(program),
        inference_kept_bytes=resident - added,
        peak_op=PeakOp(peak, timeline[peak][1], timeline[peak][0]) if timeline else PeakOp(0, "", ""),
        timeline=OnDemand(partial(_labelled, timeline)),
        tensors=OnDemand(partial(_tensors, program, delegates)),
        arena=plan,
        unmodelled_ops=tuple(sorted(edge.unmodelled)),
        notes=program.notes,
        held=program.held,
    )


def _labelled(timeline: Sequence[tuple[str, str, int]]) -> Iterator[tuple[str, int]]:
    return ((f"{module}: {name}", nbytes) for module, name, nbytes in timeline)


def _load_peaks(held: int, program: Program, delegates: Mapping[int, Delegate]) -> tuple[int, int]:
    """Return the heap's peak while loading, and what mapped pages add to it at the process's peak.

    One delegate is compiled after the other: its tables and the pages of its constants stand beside what it packs, and
    are let go (XNNCompiler.cpp frees the buffers, which unmaps them).
    """
    heap = resident = held
    for step in program.steps:
        if step.delegate >= 0:
            compiled, delegate = program.delegates[step.delegate], delegates[step.delegate]
            tabulating = held + delegate.transient_bytes + delegate.table_bytes
            held += delegate.packed_bytes + delegate.structure_bytes
            compiling = held + delegate.transient_bytes
            heap = max(heap, tabulating, compiling)
            resident = max(resident, tabulating + compiled.program_bytes, compiling + compiled.mapped_bytes)
    return heap, resident - heap


def _first_run(program: Program, delegates: Mapping[int, Delegate], pages: _Pages) -> tuple[int, int, int]:
    """Return what a first run adds to the heap at its peak, the workspace it leaves, and what it adds to the process.

    The workspace is shared, and grows when a delegate needs more: the larger block is allocated before the smaller one
    is freed (XNNPACK's runtime.c, initialize_workspace_values). Code of kernels that run later is not there yet then.
    """
    shaped = unwritten = workspace = heap = resident = 0
    kinds = {"_to_dim_order_copy"} if program.edge.casts else set()
    for step in program.steps:
        if step.delegate < 0:
            kinds.add(step.ops[0].target)
            continue
        delegate = delegates[step.delegate]
        shaped += delegate.shaped_bytes
        unwritten += delegate.unwritten_bytes
        if delegate.workspace_bytes > workspace:
            growing = shaped + workspace + delegate.workspace_bytes
            heap = max(heap, growing)
            resident = max(resident, growing - unwritten + pages.touched(program, len(kinds)))
            workspace = delegate.workspace_bytes
    grown = shaped + workspace
    touched = grown - unwritten + pages.touched(program, len(kinds))
    return max(heap, grown), workspace, max(resident, touched)


def _tensors(program: Program, delegates: Mapping[int, Delegate]) -> tuple[LiveTensor, ...]:
    """Return what is alive when, by node: first the arena's buffers, then each delegate's values in the workspace,
    which is drawn behind the arena."""
    steps, spans, plan = program.steps, program.spans, program.plan
    makers = {v: f"{op.module}: {op.target}" for step in steps for op in step.ops for v in op.outputs}
    inputs = {v: f"input {i}" for i, v in enumerate(program.edge.inputs)}
    final = max(spans[-1].stop - 1, 0) if spans else 0
    begins = [0, *[min(span.start, final) for span in spans], final]  # by step, 0 and the last being the caller's
    ends = [0, *[max(span.stop - 1, 0) for span in spans], final]
    tensors = []
    for buffer, offset in zip(plan.buffers, plan.offsets, strict=True):
        value = buffer.id if buffer.id >= 0 else ~buffer.id
        name = inputs.get(value) or makers.get(value, "passed between delegates")
        first = begins[buffer.first]
        tensors.append(LiveTensor(name, buffer.nbytes, first, max(first, ends[buffer.last]), offset))
    for step, span in zip(steps, spans, strict=True):
        if step.delegate < 0:
            continue
        names = program.delegates[step.delegate].names
        for block in delegates[step.delegate].blocks:
            module, name = names[block.first]
            first, last = span.start + block.first, span.start + block.last
            tensors.append(LiveTensor(f"{module}: {name}", block.nbytes, first, last, plan.nbytes + block.offset))
    return tuple(tensors)


RUNTIME = _ExecutorchXnnpack()
