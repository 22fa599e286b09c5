"""From a functional ATen graph to the edge dialect, with what is quantized marked."""

from edgebudget.graph import TracedGraph
from edgebudget.runtimes._functional import Functional
from edgebudget.runtimes._xnnpack.decompositions import DECOMPOSITIONS, PORTABLE
from edgebudget.runtimes._xnnpack.edge import EdgeGraph, Lowering
from edgebudget.runtimes._xnnpack.quantize import Quantization
from edgebudget.runtimes._xnnpack.recurrent import RECURRENT

_RULES = {**DECOMPOSITIONS, **RECURRENT}


def lower(graph: TracedGraph, functional: Functional, quantization: Quantization, element: str) -> EdgeGraph:
    """Return the operators ExecuTorch's partitioner would see for `functional`, which is `graph`'s. Pure.

    Floating-point values are held as `element`; what is quantized is marked beside that. An operator that no rule and
    no portable kernel is known for stands in `unmodelled`.
    """
    low = Lowering(graph, functional, element)
    edge = low.g
    known = len(functional.values)
    for node in functional.nodes:
        rule = _RULES.get(node.name)
        before = len(edge.ops)
        if rule is not None:
            rule(low, node)
        else:
            low.portable(node)
            if node.name not in PORTABLE:
                edge.unmodelled.add(node.op.target)
        if node.op.index in quantization.weights:
            for op in edge.ops[before:]:
                op.weights = quantization.weights[node.op.index]
        if node.op.index in quantization.operators:
            for op in edge.ops[before:]:
                op.quantized = True
                edge.int8.update(op.outputs)
    edge.int8 = {v for v in edge.int8 if v >= known or v in quantization.values}
    edge.outputs = [low.at(v) for v in functional.outputs]
    edge.kept = frozenset(edge.outputs)
    return edge
