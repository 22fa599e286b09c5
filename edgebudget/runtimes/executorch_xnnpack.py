"""ExecuTorch with the XNNPACK delegate: packed weights, a workspace, and an arena for what crosses delegates.

Modelled from ExecuTorch 1.5.1 and the XNNPACK it vendors, as its wheel and CMake presets build it: one workspace
shared by all delegates (EXECUTORCH_XNNPACK_SHARED_WORKSPACE), no weights cache (EXECUTORCH_XNNPACK_ENABLE_WEIGHT_CACHE
off), program file mapped.
"""

from dataclasses import dataclass

from edgebudget.dtypes.interface import DtypeOption
from edgebudget.graph import TracedGraph
from edgebudget.planning import lower_bound
from edgebudget.runtimes._functional import functionalize
from edgebudget.runtimes._xnnpack.edge import EdgeGraph, EdgeOp, lower
from edgebudget.runtimes._xnnpack.method import DELEGATE_SLACK_BYTES, Step, arena_bytes, planned, steps_of
from edgebudget.runtimes._xnnpack.partition import partition
from edgebudget.runtimes._xnnpack.quantize import FLOAT, quantize
from edgebudget.runtimes._xnnpack.subgraph import Subgraph, build, workspace_bytes
from edgebudget.runtimes._xnnpack.tiles import Tiles, tiles_for
from edgebudget.runtimes.interface import LiveTensor, MemoryLayout, PeakOp, Unsupported
from edgebudget.target import Target

# sizeof of what xnn_create_runtime_v4 keeps (runtime.c): struct xnn_operator_data a node with its time stamps
# (XNN_MAX_OPERATOR_OBJECTS, profiling is on in the wheel: ET_EVENT_TRACER_ENABLED), struct xnn_runtime_value a value.
NODE_BYTES, STAMP_BYTES, VALUE_BYTES = 240, 88, 160
# sizeof of what the subgraph holds while the runtime is made (subgraph.c, xnn_subgraph_reserve_*): it grows by doubling
# up to 512, from 64.
SUBGRAPH_NODE_BYTES, SUBGRAPH_VALUE_BYTES = 232, 224
# XNNCompiler.cpp: a FreeableBuffer for each constant, and an entry of `remapped_ids` for each value and of
# `packed_value_ids` for each weight and bias (a node of 24 bytes and its share of the buckets).
CONSTANT_BUFFER_BYTES, MAP_ENTRY_BYTES = 40, 34
@dataclass(frozen=True, slots=True)
class _Delegate:
    """One delegate's bytes: kept from load on, freed after load, added by the first run, and its workspace."""

    created_bytes: int
    transient_bytes: int
    shaped_bytes: int
    workspace_bytes: int


def _reserved(count: int, capacity: int = 0) -> int:
    """Return the capacity that holds `count` records, starting from `capacity`: xnn_subgraph_reserve_values."""
    while capacity < count:
        capacity = max(min(capacity * 2, capacity + 512), capacity + 64)
    return capacity


def _power_of_two(count: int) -> int:
    """Return the capacity a std::vector that grew to `count` has."""
    return 1 << (count - 1).bit_length() if count else 0


def _measure(sub: Subgraph, tiles: Tiles) -> _Delegate:
    values, nodes = len(sub.sizes) + sub.constants + sub.scalars + sub.dropped, len(sub.nodes)
    structures = sum(node.cost.structures for node in sub.nodes) + nodes * (NODE_BYTES + STAMP_BYTES) + values * VALUE_BYTES
    defined = len(sub.sizes) + sub.constants + sub.scalars + sub.clamps
    transient = (
        _reserved(sub.defined_nodes) * SUBGRAPH_NODE_BYTES
        + _reserved(defined, sum(sub.external)) * SUBGRAPH_VALUE_BYTES
        + _power_of_two(sub.constants + sub.scales) * CONSTANT_BUFFER_BYTES
        + (defined - sub.clamps + sub.constants) * MAP_ENTRY_BYTES
    )
    # C structures are pointers and size_t: half as large where pointers are.
    share = tiles.pointer_bytes / 8
    return _Delegate(
        created_bytes=sum(node.cost.packed for node in sub.nodes) + int(structures * share),
        transient_bytes=int(transient * share),
        shaped_bytes=sum(node.cost.shaped for node in sub.nodes),
        workspace_bytes=workspace_bytes(sub, tiles.alignment),
    )


@dataclass(frozen=True, slots=True)
class _ExecutorchXnnpack:
    name: str = "executorch-xnnpack"
    description: str = (
        "ExecuTorch with the XNNPACK delegate: weights packed at load beside the mapped file, one workspace planned by "
        "XNNPACK, indirection buffers at the first run, and an arena for inputs, outputs and what stays outside."
    )

    def lay_out(self, graph: TracedGraph, option: DtypeOption, target: Target) -> MemoryLayout | Unsupported:
        """Return the heap at the load and inference peaks, part by part; float32 and static int8. Pure."""
        if option.name not in ("float32", "int8"):
            return Unsupported(f"The XNNPACK delegate's {option.name} is not modelled; use float32 or int8.")
        tiles = tiles_for(target)
        functional = functionalize(graph)
        edge = lower(graph, functional, quantize(functional) if option.name == "int8" else FLOAT)
        return _lay_out(edge, tiles)


def _lay_out(edge: EdgeGraph, tiles: Tiles) -> MemoryLayout:
    readers: dict[int, list[EdgeOp]] = {}
    for op in edge.ops:
        for value in dict.fromkeys(op.inputs):
            readers.setdefault(value, []).append(op)
    partition(edge)
    steps = steps_of(edge, readers)
    subgraphs = {s.delegate: build(s, edge, readers, tiles) for s in steps if s.delegate >= 0}
    delegates = {number: _measure(sub, tiles) for number, sub in subgraphs.items()}
    buffers = planned(edge, steps)
    arena = arena_bytes(buffers) + (DELEGATE_SLACK_BYTES if delegates else 0)
    held = arena + sum(d.created_bytes for d in delegates.values())
    load_heap = held + max((d.transient_bytes for d in delegates.values()), default=0)
    peak, workspace = _run(steps, delegates)
    constants = sum(sub.constant_bytes for sub in subgraphs.values())
    outside = sum(edge.nbytes(v) for v in {v for s in steps if s.delegate < 0 for op in s.ops for v in op.inputs} if edge.constant[v])
    storage = constants + outside
    sizes = [n for sub in subgraphs.values() for n, e in zip(sub.sizes, sub.external, strict=True) if not e]
    first = edge.ops[0] if edge.ops else None
    return MemoryLayout(
        activation_lower_bound_bytes=lower_bound(buffers),
        activation_bytes=arena + workspace,
        activation_total_bytes=sum(sizes) + sum(b.nbytes for b in buffers),
        activation_peak_numel=0,
        workspace_bytes=peak,
        load_heap_bytes=load_heap,
        inference_heap_bytes=held + peak,
        load_mapped_bytes=storage,
        inference_mapped_bytes=outside,
        storage_bytes=storage,
        runtime_bytes=0,
        peak_op=PeakOp(0, first.target if first else "", first.module if first else ""),
        timeline=(),
        tensors=tuple(LiveTensor(f"value {b.id}", b.nbytes, b.first, b.last) for b in buffers),
        unmodelled_ops=tuple(sorted(edge.unmodelled)),
    )


def _run(steps: list[Step], delegates: dict[int, _Delegate]) -> tuple[int, int]:
    """Return what a first run adds to the heap at its peak, and the workspace it leaves.

    The workspace is shared, and grows when a delegate needs more: the larger block is allocated before the smaller one
    is freed (runtime.c, initialize_workspace_values).
    """
    shaped = workspace = peak = 0
    for step in steps:
        if step.delegate < 0:
            continue
        delegate = delegates[step.delegate]
        shaped += delegate.shaped_bytes
        if delegate.workspace_bytes > workspace:
            peak = max(peak, shaped + workspace + delegate.workspace_bytes)
            workspace = delegate.workspace_bytes
        peak = max(peak, shaped + workspace)
    return peak, workspace


RUNTIME = _ExecutorchXnnpack()
