"""From a functional ATen graph to the edge dialect, with what is quantized marked."""

from dataclasses import replace

from edgebudget.graph import FLOATING, ITEMSIZE, TracedGraph
from edgebudget.runtimes._executorch_kernels import WITH_UNKNOWN_SCRATCH
from edgebudget.runtimes._functional import Functional, Node
from edgebudget.runtimes._xnnpack.decompositions import DECOMPOSITIONS, EXCEPTIONS, PORTABLE
from edgebudget.runtimes._xnnpack.edge import EdgeGraph, Lowering
from edgebudget.runtimes._xnnpack.expansion import expand
from edgebudget.runtimes._xnnpack.quantize import Quantization
from edgebudget.runtimes._xnnpack.recurrent import RECURRENT, is_projected

_RULES = {**DECOMPOSITIONS, **RECURRENT}
_EXCEPTIONS = {**EXCEPTIONS, "lstm": is_projected}


def lower(graph: TracedGraph, functional: Functional) -> EdgeGraph:
    """Return the operators ExecuTorch's partitioner would see for `functional`, which is `graph`'s, in float32. Pure.

    An operator that no rule and no portable kernel is known for is taken apart as PyTorch does it; one that PyTorch
    does not take apart stands in `unmodelled`.
    """
    low = Lowering(graph, functional)
    edge = low.g
    for node in functional.nodes:
        if _lower(low, node):
            continue
        parts = expand(low, node, functional.values)
        for part in [node] if parts is None else parts:
            if not _lower(low, part):
                low.portable(part)
                edge.without_rule.add(part.op.target)
        if parts is None:
            edge.unmodelled.add(node.op.target)
    edge.unmodelled |= edge.without_rule & WITH_UNKNOWN_SCRATCH
    edge.outputs = [low.at(v) for v in functional.outputs]
    edge.kept = frozenset(edge.outputs)
    for op in edge.ops:
        for value in dict.fromkeys(op.inputs):
            edge.readers.setdefault(value, []).append(op)
    return edge


def _lower(low: Lowering, node: Node) -> bool:
    """Lower `node` where it is known how."""
    excepted = _EXCEPTIONS.get(node.name)
    if excepted is not None and excepted(low, node):
        return False
    rule = _RULES.get(node.name)
    if rule is not None:
        rule(low, node)
    elif node.name in PORTABLE:
        low.portable(node)
    else:
        return False
    return True


def hold_values(edge: EdgeGraph, quantization: Quantization, element: str) -> EdgeGraph:
    """Return `edge` with floating-point values held as `element`, and marked what is quantized beside that. Pure.

    All that an option leaves alone is shared with `edge`, which is in float32.
    """
    read = quantization.operators
    made = [v for op in edge.ops if op.index in read for v in op.outputs] if read else []
    return replace(
        edge,
        dtypes=edge.dtypes if element == "float32" else [element if d in FLOATING else d for d in edge.dtypes],
        element_bytes=ITEMSIZE[element],
        int8=frozenset([v for v in made if v >= edge.traced or v in quantization.values]),
        quantized=read,
        weights=quantization.weights,
    )
