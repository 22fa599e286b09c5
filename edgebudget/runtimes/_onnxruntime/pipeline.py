"""The whole way from a traced graph to what ONNX Runtime executes on an instruction set."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgebudget.graph import TracedGraph
from edgebudget.runtimes._onnxruntime import kernels, optimizers
from edgebudget.runtimes._onnxruntime.ir import Graph, Node
from edgebudget.runtimes._onnxruntime.load import Exported
from edgebudget.runtimes._onnxruntime.lowering import Fold, Lowering
from edgebudget.runtimes._onnxruntime.nchwc import BlockedLayout, Reordered


@dataclass(frozen=True)
class Program:
    """What a session executes, and the file it comes from."""

    graph: Graph
    order: tuple[Node, ...]
    exported: Exported
    folds: tuple[Fold, ...]
    reordered: tuple[Reordered, ...]
    unmodelled_ops: tuple[str, ...]


def compile_program(traced: TracedGraph, block: int) -> Program:
    """Return the program for `traced` in float32; `block` is the channel block of the layout pass, 1 for none."""
    lowering = Lowering(traced)
    graph = lowering.run()
    graph.prune()
    sources = {fold.result: fold.originals for fold in lowering.folds}
    exported = Exported(
        tuple(dict.fromkeys(o for v in graph.initializers() for o in sources.get(v, (v,)))),
        tuple(traced.ops[node.op].module.count(".") + 2 for node in graph.nodes.values()),
    )
    optimizers.push_transposes(graph)
    optimizers.gathers_to_split(graph)
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
    return Program(graph, tuple(order), exported, tuple(lowering.folds), tuple(reordered), tuple(lowering.unmodelled))
