"""A traced graph with its operators in an order that keeps less alive. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from edgebudget.graph import TracedGraph
from edgebudget.planning import Buffer, live_bytes


def reordered(graph: TracedGraph) -> TracedGraph | None:
    """Return `graph` in the order of a greedy scheduler that runs, of what is ready, the operator after which least is
    alive; None where that lowers no peak. What reads or writes a storage keeps its order around writes in place."""
    if not graph.ops or graph.truncation is not None:
        return None
    order = _schedule(graph, _dependencies(graph))
    if order == list(range(len(order))):
        return None
    moved = _in_order(graph, order)
    return moved if _peak(moved) < _peak(graph) else None


def _dependencies(graph: TracedGraph) -> list[set[int]]:
    """The operators that must run before each one."""
    storage_of = [tensor.storage for tensor in graph.tensors]
    producer: dict[int, int] = {}
    writer: dict[int, int] = {}
    readers: dict[int, list[int]] = {}
    needed: list[set[int]] = []
    for op in graph.ops:
        before: set[int] = set()
        for t in op.inputs:
            before.update(found for found in (producer.get(t), writer.get(storage_of[t])) if found is not None)
        for t in op.outputs:
            storage = storage_of[t]
            if op.name.endswith("_") and not op.name.endswith("__"):
                before.update(readers.get(storage, ()))
                writer[storage] = op.index
            elif storage not in writer and graph.storages[storage].born == op.index:
                writer[storage] = op.index
            producer[t] = op.index
        for t in (*op.inputs, *op.outputs):
            readers.setdefault(storage_of[t], []).append(op.index)
        before.discard(op.index)
        needed.append(before)
    return needed


def _schedule(graph: TracedGraph, needed: Sequence[set[int]]) -> list[int]:
    storages = graph.storages
    kept = {graph.tensors[t].storage for t in (*graph.inputs, *graph.outputs)}
    touching: dict[int, set[int]] = {}
    for op in graph.ops:
        for t in (*op.inputs, *op.outputs):
            storage = graph.tensors[t].storage
            if not storages[storage].role.is_weight:
                touching.setdefault(storage, set()).add(op.index)
    touched: list[list[int]] = [[] for _ in graph.ops]
    for storage, ops in touching.items():
        for index in ops:
            touched[index].append(storage)
    left = {storage: len(ops) for storage, ops in touching.items()}
    waiting = [len(before) for before in needed]
    followers: dict[int, list[int]] = {}
    for index, before in enumerate(needed):
        for other in before:
            followers.setdefault(other, []).append(index)
    alive: set[int] = set(kept)

    def change(index: int) -> int:
        made = sum(storages[s].nbytes for s in touched[index] if s not in alive)
        freed = sum(storages[s].nbytes for s in touched[index] if left[s] == 1 and s not in kept)
        return made - freed

    ready = [index for index, count in enumerate(waiting) if not count]
    order: list[int] = []
    while ready:
        index = min(ready, key=lambda i: (change(i), i))
        ready.remove(index)
        order.append(index)
        for storage in touched[index]:
            alive.add(storage)
            left[storage] -= 1
            if not left[storage] and storage not in kept:
                alive.discard(storage)
        for other in followers.get(index, ()):
            waiting[other] -= 1
            if not waiting[other]:
                ready.append(other)
    return order


def _in_order(graph: TracedGraph, order: Sequence[int]) -> TracedGraph:
    position = {old: new for new, old in enumerate(order)}
    end = len(order)
    last: dict[int, int] = {}
    for op in graph.ops:
        for t in (*op.inputs, *op.outputs):
            storage = graph.tensors[t].storage
            last[storage] = max(last.get(storage, -1), position[op.index])
    storages = tuple(
        s._replace(
            born=position.get(s.born, s.born),
            dies=s.dies if s.dies >= end else max(last.get(s.id, -1), position.get(s.dies, -1)),
        )
        for s in graph.storages
    )
    ops = tuple([graph.ops[old]._replace(index=new) for new, old in enumerate(order)])
    return replace(graph, ops=ops, storages=storages)


def _peak(graph: TracedGraph) -> int:
    """The most bytes alive where each storage goes after the last operator that touches it."""
    last = {graph.tensors[t].storage: op.index for op in graph.ops for t in (*op.inputs, *op.outputs)}
    kept = {graph.tensors[t].storage for t in (*graph.inputs, *graph.outputs)}
    end = len(graph.ops)
    buffers = [Buffer(s.id, s.nbytes, s.born, end if s.id in kept else last.get(s.id, end)) for s in graph.activations]
    return max(live_bytes(buffers, max(end, 1)), default=0)
