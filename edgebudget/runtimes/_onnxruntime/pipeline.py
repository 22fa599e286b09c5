"""The whole way from a traced graph to what ONNX Runtime executes on an instruction set."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgebudget.graph import TracedGraph
from edgebudget.runtimes._onnxruntime import kernels, optimizers
from edgebudget.runtimes._onnxruntime.ir import Graph, Node
from edgebudget.runtimes._onnxruntime.lowering import Lowering
from edgebudget.runtimes._onnxruntime.nchwc import BlockedLayout, Reordered


@dataclass(frozen=True)
class Program:
    """What a session executes: `initializers` are those of the file, `exported_node_count` the file's nodes."""

    graph: Graph
    order: tuple[Node, ...]
    initializers: tuple[int, ...]
    reordered: tuple[Reordered, ...]
    exported_node_count: int
    unmodelled_ops: tuple[str, ...]


def compile_program(traced: TracedGraph, block: int) -> Program:
    """Return the program for `traced` in float32; `block` is the channel block of the layout pass, 1 for none."""
    lowering = Lowering(traced)
    graph = lowering.run()
    graph.prune()
    exported_node_count = len(graph.nodes)
    optimizers.push_transposes(graph)
    optimizers.gathers_to_split(graph)
    initializers = _initializers(graph, graph.nodes.values())
    optimizers.fuse_activations(graph)
    reordered: Sequence[Reordered] = ()
    if block > 1:
        layout = BlockedLayout(graph, block)
        layout.run()
        reordered = layout.reordered
    optimizers.fuse_additions(graph)
    order = graph.ordered()
    for node in order:
        if node.kind == "Conv" and not node.blocked:
            node.scratch = (kernels.convolution_scratch_nbytes(graph, node, arm=block == 1),)
        elif node.kind == "ConvTranspose":
            node.scratch = (kernels.transposed_convolution_scratch_nbytes(graph, node),)
    return Program(
        graph, tuple(order), initializers, tuple(reordered), exported_node_count, tuple(lowering.unmodelled)
    )


def _initializers(graph: Graph, nodes: Sequence[Node] | object) -> tuple[int, ...]:
    seen: dict[int, None] = {}
    for node in graph.nodes.values():
        for v in node.inputs:
            if v >= 0 and graph.values[v].constant:
                seen.setdefault(v)
    return tuple(seen)
