"""ONNX Runtime on the CPU: its graph, its blocked layout on x86-64, its planner and arena, and what loading takes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgebudget.dtypes.int4_weight_only import GROUP_NUMEL
from edgebudget.dtypes.interface import DtypeOption
from edgebudget.graph import TracedGraph
from edgebudget.planning import ArenaPlan, Buffer, live_bytes
from edgebudget.runtimes._glibc import ApartHeap, FilledHeap, Heap, JoiningHeap, MergingHeap
from edgebudget.runtimes._onnxruntime.allocation import Held, Plan, pattern, plan, simulate
from edgebudget.runtimes._onnxruntime.arena import ALIGNED_BYTES
from edgebudget.runtimes._onnxruntime.load import FRAME_NODE_BYTES, IDLE_MAPPED_FROM_BYTES, Session
from edgebudget.runtimes._onnxruntime.pages import ARM_PAGES, X86_PAGES
from edgebudget.runtimes._onnxruntime.pipeline import Program, compile_program
from edgebudget.runtimes._onnxruntime.refusals import refused
from edgebudget.runtimes._onnxruntime.weights import WEIGHT_OPTIONS, hold
from edgebudget.runtimes.interface import Kept, LiveTensor, MemoryLayout, PeakOp, Unsupported
from edgebudget.target import Target
from edgebudget.units import format_bytes

NOTES = (
    "Exported by torch.onnx (dynamo) with the weights in the file; default session options, one thread, two runs.",
    "Static int8 is the QDQ form that quantize_static makes, with int8 weights by channel and uint8 activations.",
    "A convolution with a folded BatchNorm has a bias; the exporter drops one that is zero, as untrained weights have.",
    "The caller's own copy of the inputs is not counted.",
    "On x86-64 the order of some branches depends on addresses: the arena may end one doubling lower or higher.",
)

STARTS = range(0, ALIGNED_BYTES, 16)  # where the heap of a process may stand modulo the alignment of tensors
SPREAD_TOLD_BYTES = 1 << 20  # what processes differ by that a report speaks of

SUPPORTED = frozenset({"float32", "int8", *WEIGHT_OPTIONS})

_BLOCKS = (
    f"MatMulNBitsQuantizer takes matrix products over three dimensions and more, in blocks of {GROUP_NUMEL}; "
    "convolutions, embeddings and linear layers over two dimensions stay float32."
)
_BY_OPTION = {
    "int8-dynamic": "Convolutions, matrix products and embeddings are quantized as quantize_dynamic does, by tensor; "
    "every other operator computes in float32.",
    "int8-weight-only": _BLOCKS,
    "int4-weight-only": _BLOCKS,
}


@dataclass(frozen=True, slots=True)
class _OnnxRuntime:
    name: str = "onnxruntime"
    description: str = (
        "ONNX Runtime's CPU provider: initializers copied at load and, on x86-64, reordered into channel blocks; "
        "activations in an arena whose regions double."
    )

    def lay_out(self, graph: TracedGraph, option: DtypeOption, target: Target) -> MemoryLayout | Unsupported:
        """Return the session's heap while loading and over several runs on one thread."""
        options = option.by_operator(graph)
        asked = frozenset(options) or frozenset({option.name})
        for name in sorted(asked - SUPPORTED):
            return Unsupported(
                f"ONNX Runtime's CPU provider runs {name} by casting to float32 around most operators, which is not "
                "modelled: take float32 or int8."
            )
        if "int8" in asked and not asked <= {"float32", "int8"}:
            return Unsupported(
                "ONNX Runtime's quantizers are for one kind each: int8 goes with float32 only, not with "
                f"{', '.join(sorted(asked - {'float32', 'int8'}))}."
            )
        if target.pointer_bits != 64:
            return Unsupported("ONNX Runtime's arena is disabled on 32-bit processors, which are not modelled.")
        refusal = refused(graph)
        if refusal:
            return Unsupported(refusal)
        layout = _lay_out(graph, compile_program(graph, channel_block(target), options))
        notes = tuple(_BY_OPTION[name] for name in sorted(asked) if name in _BY_OPTION)
        own = None if asked.isdisjoint(WEIGHT_OPTIONS) else hold(option, graph, options)
        return replace(layout, notes=(*layout.notes, *notes), held=own)


def channel_block(target: Target) -> int:
    """Return the channels in a block of the layout pass, 1 where it does not run.

    core/mlas/lib/platform.cpp: 16 with AVX-512, 8 on other x86-64; the released Arm wheels have no blocked kernels.
    `x86-64-v2` and `-v3` are the levels of the psABI without AVX-512.
    """
    if not target.is_x86:
        return 1
    return 8 if target.isa.endswith(("-v1", "-v2", "-v3")) else 16


@dataclass(frozen=True, slots=True)
class _Process:
    """A process that has loaded the session and run it: what its heap had live and resident at both peaks."""

    session: Session
    load_live_bytes: int
    load_resident_bytes: int
    inference_live_bytes: int
    inference_resident_bytes: int


def _process(program: Program, planned: Plan, heap: Heap) -> _Process:
    """Load and run `program` in an idle process with `heap`."""
    session = Session(
        heap,
        program.graph,
        program.order,
        program.exported,
        program.folds,
        program.rescaled,
        program.reordered,
        arm=program.arm,
    )
    load_live, load_resident = heap.peak_live_nbytes, heap.peak_resident_nbytes
    heap.reset_peaks()
    heap.hold(FRAME_NODE_BYTES * len(program.order))
    simulate(planned, session.arena)
    return _Process(session, load_live, load_resident, heap.peak_live_nbytes, heap.peak_resident_nbytes)


def _lay_out(graph: TracedGraph, program: Program) -> MemoryLayout:
    order = program.order
    planned = plan(program.graph, order)
    pages = ARM_PAGES if program.arm else X86_PAGES
    run_pages = pages.after_runs(program)
    first_run_pages = run_pages - pages.after_loading(program)
    processes = [_process(program, planned, heap) for heap in _idle_heaps(program)]
    alike = sorted(
        processes[: len(STARTS)],
        key=lambda one: max(one.load_resident_bytes - first_run_pages, one.inference_resident_bytes),
    )
    likely = alike[len(alike) // 2]
    session, arena = likely.session, likely.session.arena
    load_heap, inference_heap = likely.load_live_bytes, likely.inference_live_bytes
    kept = [
        Kept(one.load_resident_bytes - load_heap - first_run_pages, one.inference_resident_bytes - inference_heap)
        for one in (likely, *processes)
    ]
    taken = sum(arena.regions)
    steps = max(len(order), 1)
    curve = live_bytes(planned.lifetimes, steps)
    bound = max(curve)
    at = curve.index(bound)
    held = live_bytes([Buffer(b.value, b.nbytes, b.first, b.last) for b in planned.buffers], steps)
    scratch = max((sum(node.scratch) for node in order), default=0)
    stored = sum(program.graph.values[v].nbytes for v in program.exported.initializers)
    names = [_name(graph, node.op, node.kind) for node in order]
    peak_op = graph.ops[order[at].op] if order else None
    blocks = pattern(planned, {b.value: b.nbytes for b in planned.buffers if not b.result})
    offsets = {value: offset for value, offset, _ in blocks[1]}
    return MemoryLayout(
        activation_lower_bound_bytes=bound,
        activation_bytes=taken - min(scratch, taken - bound),
        activation_total_bytes=sum(program.graph.values[v].nbytes for node in order for v in node.outputs),
        activation_peak_numel=sum(
            b.nbytes // program.graph.values[b.id].itemsize for b in planned.lifetimes if b.first <= at <= b.last
        ),
        workspace_bytes=min(scratch, taken - bound) + max(session.weight_nbytes - stored, 0),
        load_heap_bytes=load_heap,
        inference_heap_bytes=inference_heap,
        load_mapped_bytes=0,
        inference_mapped_bytes=0,
        load_kept_bytes=kept[0].load_bytes,
        inference_kept_bytes=kept[0].inference_bytes,
        kept_least=Kept(*map(min, zip(*kept, strict=True))),
        kept_most=Kept(*map(max, zip(*kept, strict=True))),
        storage_bytes=program.exported.file_nbytes(program.graph),
        runtime_bytes=run_pages,
        peak_op=PeakOp(peak_op.index, peak_op.target, peak_op.module) if peak_op else PeakOp(0, "", ""),
        timeline=tuple(zip(names, held, strict=False)),  # dead buffers kept for reuse included
        tensors=tuple(_live(b, names, steps, offsets.get(b.value)) for b in planned.buffers),
        arena=_arena(planned.buffers, *blocks),
        unmodelled_ops=program.unmodelled_ops,
        notes=(*NOTES, _kept_note(kept)),
    )


def _idle_heaps(program: Program) -> tuple[Heap, ...]:
    """Return heaps of processes that have the runtime imported: one for each of `STARTS`, and those that keep least and
    most.

    Where the heap stands modulo the alignment decides how large the ends are that an aligned block is cut from, and so
    whether what is freed joins over them; in glibc 2.36, which x86-64 was measured with, already the length of the
    file's name moves it. Each start is as likely as the others: five processes of resnet34 by names of different
    lengths took 248, 248, 251, 251 and 272 MB. In 2.41, which the boards were measured with, ends do not go to the
    caches, and small blocks that stay lie between the tensors of a float32 model when they are freed; with a quantized
    one so many nodes go that most of those blocks go too.
    """
    kind = Heap if not program.arm else MergingHeap if program.quantized else FilledHeap
    alike = [kind(IDLE_MAPPED_FROM_BYTES, start) for start in STARTS]
    return (*alike, JoiningHeap(IDLE_MAPPED_FROM_BYTES), ApartHeap(IDLE_MAPPED_FROM_BYTES))


def _kept_note(kept: Sequence[Kept]) -> str:
    likely, low, high = (pick(one.inference_bytes for one in kept) for pick in (next, min, max))
    if likely < 0:
        return f"The arena has {format_bytes(-likely)} that nothing writes to, and the peak is without them."
    more = f"Of what loading freed, malloc keeps {format_bytes(likely)} while the model runs, and the peak has them."
    if high - low < SPREAD_TOLD_BYTES:
        return more
    return (
        f"{more} By chance a process keeps {format_bytes(max(low, 0))} to {format_bytes(high)}: the interval has both."
    )


def _name(graph: TracedGraph, op: int, kind: str) -> str:
    return f"{graph.ops[op].module}: {kind}"


def _live(held: Held, names: Sequence[str], steps: int, offset: int | None) -> LiveTensor:
    return LiveTensor(names[held.first], held.nbytes, held.first, min(held.last, steps - 1), offset)


def _arena(buffers: Sequence[Held], nbytes: int, blocks: Sequence[tuple[int, int, int]]) -> ArenaPlan:
    """Return the memory pattern: what all runs but the first take as one block."""
    lifetimes = {held.value: held for held in buffers}
    placed = tuple(Buffer(v, size, lifetimes[v].first, lifetimes[v].last) for v, _, size in blocks)
    return ArenaPlan(placed, tuple(offset for _, offset, _ in blocks), nbytes)


RUNTIME = _OnnxRuntime()
