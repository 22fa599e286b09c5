"""A model as a program with XNNPACK delegates: lowered, partitioned and compiled, whatever kernels will run it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgebudget.dtypes import Assignment, DtypeOption, once_per_option
from edgebudget.graph import TracedGraph, once_per_graph
from edgebudget.planning import ArenaPlan, Buffer
from edgebudget.planning.executorch_greedy import executorch_greedy
from edgebudget.runtimes._executorch_edge import edge_target
from edgebudget.runtimes._executorch_kernels import without_kernel
from edgebudget.runtimes._functional import functionalize
from edgebudget.runtimes._xnnpack.delegate import CALL_FILE_BYTES, Body, Compiled, compile_delegate
from edgebudget.runtimes._xnnpack.edge import EdgeGraph
from edgebudget.runtimes._xnnpack.lowering import hold_values, lower
from edgebudget.runtimes._xnnpack.method import Step, planned, steps_of
from edgebudget.runtimes._xnnpack.partition import partition
from edgebudget.runtimes._xnnpack.quantize import Quantization, hold, quantize

_GROUPED_NOTE = (
    "XNNPACK has 4-bit weights by group for 8-bit activations only: covered layers quantize theirs as they run."
)


@dataclass(frozen=True)
class Program:
    """A graph under an option: everything about it that no kernel table changes.

    `bodies` are those of the `delegates`, each once, and `body_of` says which of them each has, by number. `plan` is
    the arena, with lifetimes in `steps`. `timeline` has (module, operator, bytes alive) for every node in the order
    they run, `peak` is where most are, `numel` the elements alive at each, `spans` which of the nodes each step is.
    `outside_bytes` are the weights that portable operators read; `has_tables` whether a chain of operators becomes a
    table while loading.
    `held` is how storages are held where that is not as the option says. `missing` are operators that neither XNNPACK
    nor ExecuTorch has a kernel for.
    """

    edge: EdgeGraph
    steps: tuple[Step, ...]
    delegates: Mapping[int, Compiled]
    bodies: tuple[Body, ...]
    body_of: Mapping[int, int]
    plan: ArenaPlan
    timeline: tuple[tuple[str, str, int], ...]
    peak: int
    numel: tuple[int, ...]
    spans: tuple[range, ...]
    outside_bytes: int
    has_tables: bool
    is_quantized: bool
    quantizes_rows: bool  # the activations of some operators as they come
    kernel_calls: int  # outside the delegates
    storage_bytes: int
    total_bytes: int
    notes: tuple[str, ...]
    held: Assignment | None
    missing: tuple[str, ...]


@once_per_option
def compile_program(graph: TracedGraph, option: DtypeOption) -> Program:
    """Return `graph` under `option`, which is float16 throughout or not at all. Pure."""
    options = option.by_operator(graph) or (option.name,)
    floats = {"float32", "float16"}.issuperset(options)
    quantization = Quantization() if floats else quantize(graph, functionalize(graph), options)
    edge = hold_values(_partitioned(graph), quantization, "float16" if "float16" in options else "float32")
    steps = _float_steps(graph) if floats else tuple(steps_of(edge))
    delegates = {step.delegate: compile_delegate(step, edge) for step in steps if step.delegate >= 0}
    bodies: dict[Body, int] = {}
    body_of = {number: bodies.setdefault(delegate.body, len(bodies)) for number, delegate in delegates.items()}
    plan = executorch_greedy(planned(edge, steps))
    timeline, numel, spans = _timeline(edge, steps, delegates, plan.buffers)
    outside = _constants_outside(edge, steps)
    stored: dict[tuple[int, int], int] = {}
    for delegate in delegates.values():
        stored |= delegate.stored  # the file holds one copy of what several delegates read
    storage = sum(stored.values()) + outside + sum([d.program_bytes for d in delegates.values()])
    kernel_calls = sum([step.delegate < 0 for step in steps])
    grouped = "qb4w" in quantization.weights.values()
    return Program(
        edge=edge,
        steps=steps,
        delegates=delegates,
        bodies=tuple(bodies),
        body_of=body_of,
        plan=plan,
        timeline=tuple(timeline),
        peak=max(range(len(timeline)), key=lambda i: timeline[i][2], default=0),
        numel=tuple(numel),
        spans=tuple(spans),
        outside_bytes=outside,
        has_tables=any(body.tabulated_bytes for body in bodies),
        is_quantized=bool(quantization.operators or quantization.weights),
        quantizes_rows=bool(quantization.weights),
        kernel_calls=kernel_calls,
        storage_bytes=storage + CALL_FILE_BYTES * kernel_calls,
        total_bytes=sum([b.nbytes for b in plan.buffers]) + sum([d.total_bytes for d in delegates.values()]),
        notes=(*_notes(steps), _GROUPED_NOTE) if grouped else _notes(steps),
        held=hold(option, graph, quantization.weights) if quantization.weights else None,
        missing=without_kernel([edge_target(target) for target in sorted(edge.without_rule)]),
    )


@once_per_graph
def _partitioned(graph: TracedGraph) -> EdgeGraph:
    """Return `graph` in the edge dialect, each operator with its delegate: what no option changes."""
    edge = lower(graph, functionalize(graph))
    partition(edge)
    return edge


@once_per_graph
def _float_steps(graph: TracedGraph) -> tuple[Step, ...]:
    """Return the method's calls where nothing is quantized: the same in every floating-point type."""
    return tuple(steps_of(_partitioned(graph)))


def _constants_outside(edge: EdgeGraph, steps: Sequence[Step]) -> int:
    """Return the bytes of weights that portable operators read from the mapped file."""
    read = {v for s in steps if s.delegate < 0 for op in s.ops for v in op.inputs if edge.constant[v]}
    return sum(edge.nbytes(v) for v in read)


def _timeline(
    edge: EdgeGraph, steps: Sequence[Step], delegates: Mapping[int, Compiled], buffers: Sequence[Buffer]
) -> tuple[list[tuple[str, str, int]], list[int], list[range]]:
    """Return (module, operator, bytes alive) for every node in the order they run, the elements alive at each, and
    which of the nodes each step is.

    What crosses delegates is alive in the arena, what stays within one in the workspace while its node runs.
    """
    change, elements = [0] * (len(steps) + 3), [0] * (len(steps) + 3)
    for buffer in buffers:
        count = edge.numel(buffer.id if buffer.id >= 0 else ~buffer.id)
        change[buffer.first] += buffer.nbytes
        change[buffer.last + 1] -= buffer.nbytes
        elements[buffer.first] += count
        elements[buffer.last + 1] -= count
    timeline: list[tuple[str, str, int]] = []
    numel: list[int] = []
    spans: list[range] = []
    alive, count = change[0], elements[0]
    for i, step in enumerate(steps, 1):
        alive += change[i]
        count += elements[i]
        start = len(timeline)
        if step.delegate < 0:
            timeline.append((step.ops[0].module, step.ops[0].target, alive))
            numel.append(count)
        else:
            delegate = delegates[step.delegate]
            for (module, name), nbytes, held in zip(
                delegate.names, delegate.body.held.alive, delegate.body.held.alive_numel, strict=True
            ):
                timeline.append((module, name, alive + nbytes))
                numel.append(count + held)
        spans.append(range(start, len(timeline)))
    return timeline, numel, spans


def _notes(steps: Sequence[Step]) -> tuple[str, ...]:
    outside = sorted({s.ops[0].target for s in steps if s.delegate < 0})
    if not outside:
        return ()
    inside = sum(1 for s in steps if s.delegate >= 0)
    return (f"{inside} XNNPACK delegates; portable kernels run {', '.join(outside)}.",)
