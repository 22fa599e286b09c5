"""What is around the delegates: the order the method runs in, and the arena ExecuTorch plans for what crosses.

Read in exir/memory_planning.py (greedy, buckets, lifetimes) and torch/fx/passes/tools_common.py (`legalize_graph`
orders the graph anew once delegates are fused: breadth first from what needs nothing).
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from edgebudget.planning import Buffer
from edgebudget.runtimes._xnnpack.edge import EdgeGraph, EdgeOp

ALIGNMENT = 16  # exir: ALIGNMENT, each planned tensor's size and offset
DELEGATE_SLACK_BYTES = 64  # exir/memory_planning.py: added to each pool where a delegate is XnnpackBackend's


@dataclass(frozen=True, slots=True)
class Step:
    """One call of the method: a delegate (its number) or a portable operator (-1), with the values it reads and makes."""

    delegate: int
    ops: tuple[EdgeOp, ...]
    reads: tuple[int, ...]
    makes: tuple[int, ...]


def steps_of(graph: EdgeGraph, delegate_of: list[int], readers: Mapping[int, list[EdgeOp]]) -> list[Step]:
    """Return the method's calls in the order they run. Pure."""
    groups: dict[int, list[EdgeOp]] = {}
    singles: list[tuple[int, list[EdgeOp]]] = []
    for op, delegate in zip(graph.ops, delegate_of, strict=True):
        if delegate < 0:
            singles.append((-1, [op]))
        elif delegate in groups:
            groups[delegate].append(op)
        else:
            groups[delegate] = [op]
            singles.append((delegate, groups[delegate]))
    kept = set(graph.outputs)
    steps = [_step(graph, delegate, ops, readers, kept) for delegate, ops in singles]
    return _breadth_first(steps)


def _step(
    graph: EdgeGraph, delegate: int, ops: list[EdgeOp], readers: Mapping[int, list[EdgeOp]], kept: set[int]
) -> Step:
    inside = {id(op) for op in ops}
    made = {v for op in ops for v in op.outputs}
    reads = dict.fromkeys(v for op in ops for v in op.inputs if v not in made and not graph.constant[v])
    makes = [
        v
        for op in ops
        for v in op.outputs
        if delegate < 0 or v in kept or any(id(reader) not in inside for reader in readers.get(v, ()))
    ]
    return Step(delegate, tuple(ops), tuple(reads), tuple(makes))


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
    return [Buffer(v, graph.nbytes(v), first[v], last[v]) for v in first]


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
