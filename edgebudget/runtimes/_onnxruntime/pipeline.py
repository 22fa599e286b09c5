"""The whole way from a traced graph to what ONNX Runtime executes on an instruction set."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgebudget.graph import TracedGraph
from edgebudget.runtimes._onnxruntime import kernels, optimizers, quantization, weights
from edgebudget.runtimes._onnxruntime.builder import Fold
from edgebudget.runtimes._onnxruntime.ir import Graph, Node
from edgebudget.runtimes._onnxruntime.load import FILE_INITIALIZER_BYTES, FILE_QUANTIZED_INITIALIZER_BYTES, Exported
from edgebudget.runtimes._onnxruntime.lowering import Lowering
from edgebudget.runtimes._onnxruntime.nchwc import BlockedLayout, Reordered
from edgebudget.runtimes._onnxruntime.optimizers import Rescaled


@dataclass(frozen=True)
class Program:
    """What a session executes, and the file it comes from."""

    graph: Graph
    order: tuple[Node, ...]
    exported: Exported
    folds: tuple[Fold, ...]
    rescaled: tuple[Rescaled, ...]
    reordered: tuple[Reordered, ...]
    unmodelled_ops: tuple[str, ...]
    arm: bool
    quantized: bool  # the file has pairs of QuantizeLinear and DequantizeLinear, which the session removes


def compile_program(traced: TracedGraph, block: int, options: Sequence[str] = ()) -> Program:
    """Return the program for `traced`, each operator under its entry of `options`, float32 by default.

    `block` is the channel block of the layout pass, 1 for none (Arm).
    """
    arm = block == 1
    int8 = _under("int8", options)
    by_weights = {name: _under(name, options) for name in weights.WEIGHT_OPTIONS}
    lowering = Lowering(traced, level=1 if int8 else 2, as_exported=frozenset().union(*by_weights.values()))
    graph = lowering.run()
    graph.prune()
    depths = _depths(traced, [node.op for node in graph.nodes.values()])
    optimizers.push_transposes(graph)
    rescaled: tuple[Rescaled, ...] = ()
    if int8:
        # A quantizer's session has done this already, and saved the results.
        lowering.rewritten |= bool(optimizers.fuse_factors(graph))
    node_count = len(depths)
    input_count = graph.input_count
    typed_count = node_count + len(graph.initializers())
    if int8:
        added = quantization.quantize(graph, int8)
        optimizers.gathers_to_split(graph)
        depths = () if lowering.rewritten else _depths(traced, added.exported_ops)
        node_count, input_count, written = added.node_count, added.input_count, added.initializers
    else:
        for more in _quantize_weights(graph, by_weights):
            node_count += more.nodes
            input_count += more.inputs
            depths = depths[more.rewritten :]
        optimizers.gathers_to_split(graph)
        optimizers.fuse_scales(graph)
        written = graph.initializers()
        rescaled = optimizers.fuse_factors(graph)
    folds: tuple[Fold, ...] = ()  # a quantizer's session has folded already, and saved the results
    initializers = written
    if not int8:
        folds, initializers = _needed(lowering.folds, written)
        # The exporter writes the module's parameters first, then its buffers, each in the order of its state, which is
        # that of storages; then what it made of others: transposed ones, biases.
        initializers = tuple(sorted(initializers, key=lambda v: lowering.named.get(v, (True, len(traced.storages)))))
    name_nbytes = FILE_QUANTIZED_INITIALIZER_BYTES if int8 else FILE_INITIALIZER_BYTES
    exported = Exported(initializers, node_count, input_count, typed_count, depths, name_nbytes)
    optimizers.fuse_activations(graph)
    if int8:
        quantization.to_channels_last(graph)
        optimizers.push_transposes(graph)
    reordered: Sequence[Reordered] = ()
    if block > 1:
        layout = BlockedLayout(graph, block)
        layout.run()
        reordered = layout.reordered
    optimizers.fuse_additions(graph)
    order = graph.ordered()
    for node in order:
        if node.kind == "Conv" and not node.blocked:
            node.scratch = (kernels.convolution_scratch_nbytes(graph, node, arm=arm),)
        elif node.kind == "ConvTranspose":
            node.scratch = (kernels.transposed_convolution_scratch_nbytes(graph, node),)
        elif node.kind == "ConvInteger":
            node.scratch = weights.convolution_scratch(graph, node)
        elif node.kind == "QLinearConv":
            node.scratch = quantization.convolution_scratch(graph, node, arm=arm)
        elif node.kind in ("QGemm", "QLinearMatMul"):
            node.scratch = quantization.product_scratch(graph, node)
    return Program(
        graph=graph,
        order=tuple(order),
        exported=exported,
        folds=folds,
        rescaled=rescaled,
        reordered=tuple(reordered),
        unmodelled_ops=tuple(lowering.unmodelled),
        arm=arm,
        quantized=bool(int8),
    )


def _depths(traced: TracedGraph, operators: Iterable[int]) -> tuple[int, ...]:
    """How deep in the module tree each operator stands."""
    return tuple(traced.ops[index].module.count(".") + 2 for index in operators)


def _under(option: str, options: Sequence[str]) -> frozenset[int]:
    return frozenset(index for index, name in enumerate(options) if name == option)


def _quantize_weights(graph: Graph, by_weights: Mapping[str, frozenset[int]]) -> Iterator[weights.Added]:
    """Rewrite what each option of `weights.WEIGHT_OPTIONS` covers."""
    if by_weights["int8-dynamic"]:
        yield weights.quantize_dynamically(graph, by_weights["int8-dynamic"])
    for option, bits in (("int8-weight-only", 8), ("int4-weight-only", 4)):
        if by_weights[option]:
            yield weights.quantize_blocks(graph, by_weights[option], bits)


def _needed(folds: Sequence[Fold], read: Sequence[int]) -> tuple[tuple[Fold, ...], tuple[int, ...]]:
    """Return the folds that `read` rests on, in order, and the initializers that the file has instead."""
    wanted = dict.fromkeys(read)
    needed: list[Fold] = []
    for fold in reversed(folds):
        if fold.result in wanted:
            needed.append(fold)
            del wanted[fold.result]
            wanted.update(dict.fromkeys(fold.originals))
    return tuple(reversed(needed)), tuple(wanted)
