"""What is around the delegates: the order the method runs in, and what crosses, which ExecuTorch plans an arena for.

Read in exir/memory_planning.py (lifetimes) and torch/fx/passes/tools_common.py (`legalize_graph` orders the graph anew
once delegates are fused: breadth first from what needs nothing).
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from edgebudget.planning import Buffer
from edgebudget.runtimes._xnnpack.edge import EdgeGraph, EdgeOp

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


def steps_of(graph: EdgeGraph) -> list[Step]:
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
    if len(groups) > 1:
        position = _positions_once_fused(graph)
        for delegate, ops in groups.items():
            if delegate:
                ops.sort(key=lambda op: position[op])
    crossings = _Crossings(graph, maker)
    return _breadth_first([_step(delegate, ops, crossings) for delegate, ops in singles])


def _positions_once_fused(graph: EdgeGraph) -> dict[EdgeOp, int]:
    """Return where each operator stands once the last delegate is fused, which is the first to be.

    From then on the graph is in breadth-first order, and so are the operators of every other delegate
    (exir/backend/backend_api.py, `_create_partitions_in_graph_module`). That each of those is fused in turn, and orders
    the rest once more, is left out: it is the same order but for ties.
    """
    last: list[EdgeOp] = []
    nodes = []
    for op in graph.ops:
        if op.delegate:
            nodes.append([op])
        else:
            if not last:
                nodes.append(last)
            last.append(op)
    steps = []
    for ops in nodes:
        made = {v for op in ops for v in op.outputs}
        reads = dict.fromkeys(v for op in ops for v in op.inputs if v not in made)
        steps.append(Step(-1, tuple(ops), tuple(reads), tuple(made)))
    return {op: i for i, step in enumerate(_breadth_first(steps)) for op in step.ops}


class _Crossings:
    """Which form a value has where it crosses a border.

    A quantize node belongs to the first delegate that reads its result, unless the value is int8 where it is made; a
    dequantize node to what reads it, or, before a portable operator and before several delegates, to the one that made
    the value.
    """

    def __init__(self, graph: EdgeGraph, maker: Mapping[int, int]) -> None:
        self.graph = graph
        self.maker = maker
        self.quantized_in: dict[int, int] = {}  # delegate that makes a float value int8, and hands it on
        if graph.int8:
            for v, following in graph.readers.items():
                if v in graph.int8 and maker.get(v, -1) >= 0:
                    continue
                takers = [op.delegate for op in following if op.index in graph.quantized and op.delegate >= 0]
                if takers and not graph.constant[v]:
                    self.quantized_in[v] = max(takers)

    def read(self, op: EdgeOp, value: int) -> int:
        """Return what `op` reads from outside its delegate for `value`: itself, or its complement for int8."""
        if op.delegate < 0:
            return value
        if value in self.graph.int8 and self.maker.get(value, -1) >= 0:
            return value if self._is_shared(op, value) else ~value
        if op.index in self.graph.quantized and self.quantized_in.get(value, op.delegate) != op.delegate:
            return ~value
        return value

    def _is_shared(self, op: EdgeOp, value: int) -> bool:
        """Whether `op` reads `value` behind one dequantize node with its like in other delegates: one operator of the
        trace that became several. The node stays where the value is made."""
        if op.index in self.graph.quantized:
            return False
        return any(o.index == op.index and o.delegate != op.delegate for o in self.graph.readers[value])

    def leaving(self, delegate: int, value: int) -> list[int]:
        """Return the forms in which `value`, made or made int8 in `delegate`, leaves it."""
        graph = self.graph
        forms: dict[int, None] = {}
        made_here = self.maker.get(value, -1) == delegate
        if made_here and value in graph.kept:
            forms[value] = None
        for reader in graph.readers.get(value, ()):
            if reader.delegate == delegate:
                continue
            form = self.read(reader, value)
            if made_here or (form < 0 and self.quantized_in.get(value) == delegate):
                if form < 0 and value not in graph.int8 and self.quantized_in.get(value) != delegate:
                    continue  # another delegate hands that on
                forms[form] = None
        return list(forms)


def _step(delegate: int, ops: list[EdgeOp], crossings: _Crossings) -> Step:
    if delegate < 0:
        op = ops[0]
        constant = crossings.graph.constant
        return Step(-1, tuple(ops), tuple([v for v in dict.fromkeys(op.inputs) if not constant[v]]), tuple(op.outputs))
    reads: dict[int, None] = {}
    makes: list[int] = []
    for op in ops:
        for v in op.inputs:
            if crossings.maker.get(v, -1) != delegate and not crossings.graph.constant[v]:
                form = crossings.read(op, v)
                if form not in reads:
                    reads[form] = None
                    if form >= 0 and crossings.quantized_in.get(v) == delegate:
                        makes.extend(crossings.leaving(delegate, v))
        for v in op.outputs:
            makes.extend(crossings.leaving(delegate, v))
    return Step(delegate, tuple(ops), tuple(reads), tuple(dict.fromkeys(makes)))


def _breadth_first(steps: list[Step]) -> list[Step]:
    """Return `steps` as `legalize_graph` orders them: first in, first out, each `getitem` of a result a node itself."""
    made = {v for step in steps for v in step.makes}
    waiting = [0] * len(steps)
    readers: dict[int, list[int]] = {}
    for i, step in enumerate(steps):
        for v in step.reads:
            if v in made:
                waiting[i] += 1
                readers.setdefault(v, []).append(i)
    order: list[Step] = []
    ready: deque[tuple[int, int]] = deque((i, 0) for i, count in enumerate(waiting) if not count)
    while ready:
        i, value = ready.popleft()
        if i >= 0:
            step = steps[i]
            order.append(step)
            if step.delegate >= 0 or len(step.makes) > 1:
                ready.extend((-1, v) for v in step.makes)
                continue
            values = step.makes
        else:
            values = (value,)
        for v in values:
            for reader in readers.get(v, ()):
                waiting[reader] -= 1
                if not waiting[reader]:
                    ready.append((reader, 0))
    return order


def planned(graph: EdgeGraph, steps: Sequence[Step]) -> list[Buffer]:
    """Return what the arena holds: inputs, outputs, and every value that crosses a delegate's border."""
    first: dict[int, int] = dict.fromkeys(graph.inputs, 0)
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
