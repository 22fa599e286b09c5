"""What is around the delegates: the order the method runs in, and the arena ExecuTorch plans for what crosses.

Read in exir/memory_planning.py (greedy, buckets, lifetimes) and torch/fx/passes/tools_common.py (`legalize_graph`
orders the graph anew once delegates are fused: breadth first from what needs nothing).
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from edgebudget.planning import Buffer
from edgebudget.runtimes._xnnpack.edge import EdgeGraph, EdgeOp

ALIGNMENT = 16  # exir: ALIGNMENT, each planned tensor's size and offset
DELEGATE_SLACK_BYTES = 64  # exir/memory_planning.py: added to each pool where a delegate is XnnpackBackend's


@dataclass(frozen=True, slots=True)
class Step:
    """One call of the method: a delegate (its number) or a portable operator (-1), with the values it reads and makes.

    A value that crosses from delegate to delegate as int8 is written `~value`.
    """

    delegate: int
    ops: tuple[EdgeOp, ...]
    reads: tuple[int, ...]
    makes: tuple[int, ...]


def steps_of(graph: EdgeGraph, readers: Mapping[int, Sequence[EdgeOp]]) -> list[Step]:
    """Return the method's calls in the order they run; operators carry their delegate. Pure."""
    groups: dict[int, list[EdgeOp]] = {}
    singles: list[tuple[int, list[EdgeOp]]] = []
    maker: dict[int, int] = {}
    for op in graph.ops:
        delegate = op.delegate
        for v in op.outputs:
            maker[v] = delegate
        if delegate < 0:
            singles.append((-1, [op]))
        elif delegate in groups:
            groups[delegate].append(op)
        else:
            groups[delegate] = [op]
            singles.append((delegate, groups[delegate]))
    steps = [_step(graph, delegate, ops, readers, maker) for delegate, ops in singles]
    return _breadth_first(steps)


def _step(
    graph: EdgeGraph, delegate: int, ops: list[EdgeOp], readers: Mapping[int, Sequence[EdgeOp]], maker: Mapping[int, int]
) -> Step:
    reads: dict[int, None] = {}
    makes: list[int] = []
    for op in ops:
        for v in op.inputs:
            source = maker.get(v, -1)
            if graph.constant[v] or (source == delegate and delegate >= 0):
                continue
            reads[~v if delegate >= 0 and source >= 0 and v in graph.int8 else v] = None
        for v in op.outputs:
            if delegate < 0:
                makes.append(v)
                continue
            plain, int8 = leaves(graph, delegate, v, readers)
            if plain:
                makes.append(v)
            if int8:
                makes.append(~v)
    return Step(delegate, tuple(ops), tuple(reads), tuple(makes))


def leaves(graph: EdgeGraph, delegate: int, value: int, readers: Mapping[int, Sequence[EdgeOp]]) -> tuple[bool, bool]:
    """Return whether `value` leaves the delegate that makes it as a float, and whether as int8.

    A dequantize node goes with what reads it: into the other delegate, or, before a portable operator, to the maker.
    """
    plain, int8 = value in graph.kept, False
    for reader in readers.get(value, ()):
        if reader.delegate != delegate:
            if value in graph.int8 and reader.delegate >= 0:
                int8 = True
            else:
                plain = True
    return plain, int8


def _breadth_first(steps: list[Step]) -> list[Step]:
    maker = {v: i for i, step in enumerate(steps) for v in step.makes}
    waiting = [0] * len(steps)
    followers: list[list[int]] = [[] for _ in steps]
    for i, step in enumerate(steps):
        for source in dict.fromkeys(maker[v] for v in step.reads if v in maker):
            waiting[i] += 1
            followers[source].append(i)
    ready = deque(i for i, count in enumerate(waiting) if not count)
    order = []
    while ready:
        i = ready.popleft()
        order.append(steps[i])
        for follower in followers[i]:
            waiting[follower] -= 1
            if not waiting[follower]:
                ready.append(follower)
    return order


def planned(graph: EdgeGraph, steps: list[Step]) -> list[Buffer]:
    """Return what the arena holds: inputs, outputs, and every value that crosses a delegate's border."""
    first: dict[int, int] = {v: 0 for v in graph.inputs}
    last: dict[int, int] = dict.fromkeys(graph.inputs, 0)
    for i, step in enumerate(steps, 1):
        for v in step.reads:
            if v in last:
                last[v] = i
        for v in step.makes:
            first[v] = last[v] = i
    for v in graph.outputs:
        if v in last:
            last[v] = len(steps) + 1
    return [Buffer(v, graph.nbytes(v) if v >= 0 else prod(graph.shapes[~v]), first[v], last[v]) for v in first]


def arena_bytes(buffers: list[Buffer]) -> int:
    """Return ExecuTorch's greedy arena: buckets that never grow, each as large as the first tensor in it."""
    order = sorted(buffers, key=lambda b: -b.nbytes)
    buckets: list[tuple[int, list[tuple[int, int, int]]]] = []  # size, [(first, last, end)]
    for buffer in order:
        size = -(-buffer.nbytes // ALIGNMENT) * ALIGNMENT
        placed = False
        for _, occupants in buckets:
            if not any(f <= buffer.last and buffer.first <= t for f, t, _ in occupants):
                occupants.append((buffer.first, buffer.last, size))
                placed = True
                break
        if placed:
            continue
        for capacity, occupants in buckets:
            start = max((e for f, t, e in occupants if f <= buffer.last and buffer.first <= t), default=0)
            if capacity - start >= size:
                occupants.append((buffer.first, buffer.last, start + size))
                placed = True
                break
        if not placed:
            buckets.append((size, [(buffer.first, buffer.last, size)]))
    return sum(size for size, _ in buckets)
