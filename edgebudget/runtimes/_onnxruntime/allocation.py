"""Which value lives in which buffer, from when to when, and what the arena takes for it, run by run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from edgebudget.planning import Buffer
from edgebudget.runtimes._onnxruntime.arena import GRAIN_BYTES, Arena, Chunk
from edgebudget.runtimes._onnxruntime.ir import ABSENT, Graph, Node

# KernelDefBuilder().Alias(0, 0): the output is the input's buffer, whatever else reads it.
ALIASING = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"})
# KernelDefBuilder().MayInplace(input, 0): the output takes the input's buffer where this is its last use.
IN_PLACE: Mapping[str, int] = {
    **dict.fromkeys(
        ("Relu", "Sigmoid", "Tanh", "LeakyRelu", "Elu", "HardSigmoid", "Selu", "Softplus", "Softsign", "Clip", "Celu",
         "ThresholdedRelu", "Softmax", "LogSoftmax", "Cast", "ScatterND", "ScatterElements", "Trilu"),
        0,
    ),
    "Conv": 3,  # FusedConv and the blocked Conv: the tensor to be added
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Held:
    """One buffer: its size, and the first and last step that need it."""

    value: int
    nbytes: int
    first: int
    last: int
    result: bool  # an output of the graph: allocated apart, and outlives the run


@dataclass(frozen=True)
class Plan:
    """The order of execution with its buffers: `opened[s]` are allocated at step `s`, `closed[s]` freed after it."""

    order: tuple[Node, ...]
    buffers: tuple[Held, ...]
    opened: tuple[tuple[int, ...], ...]
    closed: tuple[tuple[int, ...], ...]
    lifetimes: tuple[Buffer, ...]  # what must be alive when, were no dead buffer of the same shape kept for later


def plan(graph: Graph, order: Sequence[Node]) -> Plan:
    """Return the buffers of a sequential execution of `order`.

    `PlannerImpl::ComputeSingleStreamReusePlan` and `GenerateDeallocationPlan` (core/framework/allocation_planner.cc):
    alias, else in place, else a dead buffer of the very same shape (the one that died last), else a new one.
    """
    values = graph.values
    results = set(graph.results)
    uses = [0] * len(values)
    for v in (*graph.fed, *graph.results):
        uses[v] += 1
    consumed = [False] * len(values)
    for node in order:
        for v in node.inputs:
            if v != ABSENT:
                uses[v] += 1
                consumed[v] = True
        for v in node.outputs:
            uses[v] += 1
    for v, value in enumerate(values):
        if value.constant:
            uses[v] += 1

    buffer = list(range(len(values)))
    root = list(range(len(values)))  # as `buffer`, but for dead buffers that are used again
    allocated: dict[int, int] = {}
    freed: list[int] = []  # the one that died last stands at the end
    opened: list[tuple[int, ...]] = []
    for step, node in enumerate(order):
        news = []
        for v in node.outputs:
            lender = ABSENT
            if v not in results:
                lender = _lender(graph, node, v, uses, buffer)
                if lender != ABSENT:
                    root[v] = root[lender]
                if lender == ABSENT and consumed[v]:
                    lender = _dead_twin(graph, v, freed)
            if lender == ABSENT:
                allocated[v] = step
                news.append(v)
            else:
                original = buffer[lender]
                buffer[v] = original
                uses[original] += uses[v]
        opened.append(tuple(news))
        for v in (*node.inputs, *node.outputs):
            if v != ABSENT:
                original = buffer[v]
                uses[original] -= 1
                if not uses[original]:
                    freed.append(original)
    last = dict(allocated)
    read: set[int] = set()
    for step, node in enumerate(order):
        for v in node.inputs:
            if v != ABSENT and buffer[v] in last:
                last[buffer[v]] = step
                read.add(buffer[v])
    closed: list[list[int]] = [[] for _ in order]
    for v in allocated:
        if v not in results and v in read:  # what nobody reads stays to the end of the run
            closed[last[v]].append(v)
    end = len(order)
    buffers = tuple(
        Held(v, values[v].nbytes, step, end if v in results or v not in read else last[v], v in results)
        for v, step in allocated.items()
    )
    return Plan(tuple(order), buffers, tuple(opened), tuple(map(tuple, closed)), _lifetimes(graph, order, root))


def _lifetimes(graph: Graph, order: Sequence[Node], root: Sequence[int]) -> tuple[Buffer, ...]:
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for step, node in enumerate(order):
        for v in node.outputs:
            first.setdefault(root[v], step)
            last[root[v]] = step
        for v in node.inputs:
            if v != ABSENT and root[v] in first:
                last[root[v]] = step
    last.update((root[v], len(order)) for v in graph.results if root[v] in first)
    kept = (v for v in first if not graph.values[v].constant and v not in graph.fed)
    return tuple(Buffer(v, graph.values[v].nbytes, first[v], last[v]) for v in kept)


def _lender(graph: Graph, node: Node, v: int, uses: Sequence[int], buffer: Sequence[int]) -> int:
    if node.outputs[0] != v:
        return ABSENT
    if node.kind in ALIASING:
        return node.inputs[0]
    position = IN_PLACE.get(node.kind)
    if position is None or position >= len(node.inputs):
        return ABSENT
    source = node.inputs[position]
    if source == ABSENT or uses[buffer[source]] != 1:
        return ABSENT
    return source if _same_size(graph, source, v) else ABSENT


def _dead_twin(graph: Graph, v: int, freed: list[int]) -> int:
    if not graph.values[v].shape:
        return ABSENT
    for i in range(len(freed) - 1, -1, -1):
        if _same_size(graph, freed[i], v):
            return freed.pop(i)
    return ABSENT


def _same_size(graph: Graph, one: int, other: int) -> bool:
    a, b = graph.values[one], graph.values[other]
    return a.itemsize == b.itemsize and a.shape == b.shape


class Block(NamedTuple):
    """A stretch of the memory pattern."""

    value: int
    offset: int
    nbytes: int


def pattern(planned: Plan, sizes: Mapping[int, int]) -> tuple[int, tuple[Block, ...]]:
    """Return the size of the memory pattern and its blocks in order of allocation.

    `MemPatternPlanner` (core/framework/mem_pattern_planner.h), fed with what the first run allocates and frees:
    the gap that fits best, else behind the last block. Blocks are multiples of 256 bytes; outputs are not in it.
    """
    live: list[Block] = []  # by offset
    blocks: list[Block] = []
    peak = 0
    for news, olds in zip(planned.opened, planned.closed, strict=True):
        for v in news:
            if v not in sizes:
                continue
            nbytes = -(-sizes[v] // GRAIN_BYTES) * GRAIN_BYTES
            offset = live[-1].offset + live[-1].nbytes if live else 0
            place, end, waste = len(live), 0, None
            for i, block in enumerate(live):
                gap = block.offset - end
                if gap >= nbytes and (waste is None or gap - nbytes < waste):
                    place, offset, waste = i, end, gap - nbytes
                end = block.offset + block.nbytes
            block = Block(v, offset, nbytes)
            live.insert(place, block)
            blocks.append(block)
            peak = max(peak, offset + nbytes)
        if olds:
            live = [block for block in live if block.value not in olds]
    return peak, tuple(blocks)


def simulate(planned: Plan, arena: Arena) -> None:
    """Run twice in `arena`, as loading left it: buffer by buffer, then with one pattern that all later runs take."""
    sizes = {held.value: held.nbytes for held in planned.buffers}
    inner = {held.value: held.nbytes for held in planned.buffers if not held.result}
    _run(arena, planned, sizes)
    pattern_nbytes, _ = pattern(planned, inner)
    outer = {held.value: held.nbytes for held in planned.buffers if held.result}
    block = arena.allocate(pattern_nbytes) if pattern_nbytes else None
    _run(arena, planned, outer)
    if block is not None:
        arena.free(block)


def _run(arena: Arena, planned: Plan, sizes: Mapping[int, int]) -> None:
    chunks: dict[int, Chunk] = {}
    for node, news, olds in zip(planned.order, planned.opened, planned.closed, strict=True):
        for v in news:
            if sizes.get(v):
                chunks[v] = arena.allocate(sizes[v])
        scratch = [arena.allocate(nbytes) for nbytes in node.scratch if nbytes]
        for chunk in scratch:
            arena.free(chunk)
        for v in olds:
            if v in chunks:
                arena.free(chunks.pop(v))
    for chunk in chunks.values():
        arena.free(chunk)
