"""Graph optimizers that change which buffers there are, between the export and the layout pass."""

from dataclasses import dataclass

from edgebudget.runtimes._onnxruntime.ir import ABSENT, Graph, Node

FUSED_INTO_CONV = frozenset({"Relu", "Sigmoid", "Tanh", "LeakyRelu", "Clip", "HardSigmoid"})  # ConvActivationFusion
PUSHED_THROUGH = frozenset(  # handler_map and HandleSimpleNode's kin (transpose_optimization)
    "Cast Exp Gelu QuickGelu LeakyRelu Log Reciprocal Relu Sigmoid Sqrt Tanh Abs Not Ceil Floor Neg Erf HardSigmoid "
    "Round IsNaN Selu Sign Softplus Celu Sin Cos Clip Add Max Min Mul Sub Div And Or Mod PRelu Equal Greater Less "
    "GreaterOrEqual LessOrEqual Pow Where ReduceMean ReduceL2 ReduceSum ReduceMax QuantizeLinear DequantizeLinear "
    "QLinearAdd QLinearMul QLinearConcat QLinearSigmoid QLinearLeakyRelu QLinearAveragePool".split()
)


def push_transposes(graph: Graph) -> None:
    """Move transpositions behind what works element by element, merge neighbours, and drop what cancels.

    The part of TransposeOptimizer (core/optimizer/transpose_optimization) that CNNs in channels-last blocks and
    attention over a packed projection need.
    """
    producers, readers = graph.producers(), graph.consumers()
    for node in graph.ordered():
        sources = [producers.get(v) for v in node.inputs]
        if node.kind == "Transpose":
            before = sources[0]
            if before is not None and before.kind == "Transpose":
                node.inputs = list(before.inputs)
                node.permutation = tuple(before.permutation[p] for p in node.permutation)
        elif node.kind == "Gather":
            before = sources[0]
            if before is not None and before.kind == "Transpose" and not graph.values[node.inputs[1]].shape:
                _behind_gather(graph, producers, node, before)
        elif node.kind == "Split":
            before = sources[0]
            unbinds = all([r.kind for r in readers.get(v, ())] == ["Squeeze"] for v in node.outputs)
            if before is not None and before.kind == "Transpose" and unbinds:
                _behind_split(graph, producers, node, before)
        elif node.kind == "Squeeze":
            before = sources[0]
            turned_again = [r.kind for r in readers.get(node.outputs[0], ())] == ["Transpose"]
            if before is not None and before.kind == "Transpose" and turned_again:
                _behind_gather(graph, producers, node, before)
        elif node.kind in PUSHED_THROUGH or (node.kind == "MaxPool" and graph.values[node.outputs[0]].itemsize == 1):
            _behind_elementwise(graph, producers, node, sources)
    _drop_identities(graph)
    graph.prune()


def _behind_gather(graph: Graph, producers: dict[int, Node], node: Node, before: Node) -> None:
    permutation = before.permutation
    axis = permutation[node.axis]
    rest = [p for i, p in enumerate(permutation) if i != node.axis]
    left = tuple(p - (p > axis) for p in rest)
    shape = tuple(n for i, n in enumerate(graph.values[before.inputs[0]].shape) if i != axis)
    out = node.outputs[0]
    inner = graph.value(shape, graph.values[out].itemsize)
    node.inputs[0], node.axis, node.outputs = before.inputs[0], axis, [inner]
    producers[inner] = node
    after = graph.add("Transpose", [inner], [out], node.op)
    after.permutation = left
    producers[out] = after


def _behind_split(graph: Graph, producers: dict[int, Node], node: Node, before: Node) -> None:
    permutation = before.permutation
    backwards = [permutation.index(axis) for axis in range(len(permutation))]
    inner = []
    for out in node.outputs:
        shape = graph.values[out].shape
        inner.append(graph.value([shape[i] for i in backwards], graph.values[out].itemsize))
        after = graph.add("Transpose", inner[-1:], [out], node.op)
        after.permutation = permutation
        producers[out] = after
    node.inputs[0], node.outputs, node.axis = before.inputs[0], inner, permutation[node.axis]
    producers.update((v, node) for v in inner)


def _behind_elementwise(graph: Graph, producers: dict[int, Node], node: Node, sources: list[Node | None]) -> None:
    out = node.outputs[0]
    rank = len(graph.values[out].shape)
    permutations = {s.permutation for s in sources if s is not None and s.kind == "Transpose"}
    if len(permutations) != 1 or rank != 4:
        return
    (permutation,) = permutations
    backwards = tuple(permutation.index(axis) for axis in range(rank))
    inputs = []
    for v, source in zip(node.inputs, sources, strict=True):
        if source is not None and source.kind == "Transpose":
            inputs.append(source.inputs[0])
        elif v != ABSENT and graph.values[v].constant:
            inputs.append(v)
        elif v != ABSENT and _is_cheap(graph.values[v].shape, rank):
            inputs.append(_turned(graph, producers, v, backwards, node.op))
        else:
            return
    shape = graph.values[out].shape
    inner = graph.value([shape[i] for i in backwards], graph.values[out].itemsize)
    node.inputs, node.outputs = inputs, [inner]
    producers[inner] = node
    after = graph.add("Transpose", [inner], [out], node.op)
    after.permutation = permutation
    producers[out] = after


def _is_cheap(shape: tuple[int, ...], rank: int) -> bool:
    """Whether turning a tensor round costs next to nothing: one number, or one number a channel."""
    return len(shape) == rank and sum(size > 1 for size in shape) <= 1


def _turned(graph: Graph, producers: dict[int, Node], v: int, permutation: tuple[int, ...], op: int) -> int:
    shape = graph.values[v].shape
    out = graph.value([shape[axis] for axis in permutation], graph.values[v].itemsize)
    node = graph.add("Transpose", [v], [out], op)
    node.permutation = permutation
    producers[out] = node
    return out


def _drop_identities(graph: Graph) -> None:
    same: dict[int, int] = {}
    for node in list(graph.nodes.values()):
        idle = node.kind == "Transpose" and node.permutation == tuple(range(len(node.permutation)))
        if idle and node.permutation and node.outputs[0] not in graph.results:
            same[node.outputs[0]] = node.inputs[0]
            graph.remove(node)
    for node in graph.nodes.values():
        for i, v in enumerate(node.inputs):
            while v in same:
                v = same[v]
            node.inputs[i] = v


def gathers_to_split(graph: Graph) -> None:
    """GatherSliceToSplitFusion: single elements of one axis, all of them taken, become one Split and views."""
    for readers in list(graph.consumers().values()):
        gathers = [n for n in readers if n.kind == "Gather" and not graph.values[n.inputs[1]].shape]
        if len(gathers) < 2 or len(gathers) != len(readers):
            continue
        source, axis = gathers[0].inputs[0], gathers[0].axis
        shape = list(graph.values[source].shape)
        if any(g.axis != axis or g.inputs[0] != source for g in gathers) or shape[axis] != len(gathers):
            continue
        shape[axis] = 1
        itemsize = graph.values[source].itemsize
        parts = [graph.value(shape, itemsize) for _ in gathers]
        graph.add("Split", [source], parts, gathers[0].op)
        for gather, part in zip(gathers, parts, strict=True):
            graph.add("Squeeze", [part], gather.outputs, gather.op)
            graph.remove(gather)


def fuse_scales(graph: Graph) -> None:
    """MatMulScaleFusion: a product with one number behind a MatMul becomes FusedMatMul's `alpha`."""
    producers, readers = graph.producers(), graph.consumers()
    for node in list(graph.nodes.values()):
        if node.kind not in ("Mul", "Div") or len(node.inputs) != 2:
            continue
        product, factor = producers.get(node.inputs[0]), graph.values[node.inputs[1]]
        alone = len(readers.get(node.inputs[0], ())) == 1 and node.inputs[0] not in graph.results
        a_number = factor.constant and factor.shape in ((), (1,))
        if product is not None and product.kind == "MatMul" and alone and a_number:
            product.outputs = list(node.outputs)
            producers[node.outputs[0]] = product
            graph.remove(node)


@dataclass(frozen=True, slots=True)
class Rescaled:
    """A filter that took in a factor: both are initializers, and the original goes when all have been made."""

    original: int
    copy: int


def fuse_factors(graph: Graph) -> tuple[Rescaled, ...]:
    """ConvMulFusion: what a convolution's result alone is multiplied with, a number a channel, goes into its filter.

    Returns the filters that are made, in order.
    """
    readers, results = graph.consumers(), set(graph.results)
    made: list[Rescaled] = []
    for node in graph.ordered():
        after = readers.get(node.outputs[0], [])
        if node.kind != "Conv" or len(after) != 1 or node.outputs[0] in results:
            continue
        (product,) = after
        if product.kind != "Mul" or product.inputs[0] != node.outputs[0] or not _by_channel(graph, node, product):
            continue
        weight = graph.values[node.inputs[1]]
        made.append(Rescaled(node.inputs[1], graph.value(weight.shape, weight.itemsize, constant=True)))
        node.inputs[1] = made[-1].copy
        node.outputs = list(product.outputs)
        graph.remove(product)
    return tuple(made)


def _by_channel(graph: Graph, convolution: Node, product: Node) -> bool:
    """Whether the second factor is a constant with one number, or one for each channel, and the filter is one too."""
    if not all(graph.values[v].constant for v in (*convolution.inputs[1:3], product.inputs[1])):
        return False
    filters, factor = graph.values[convolution.inputs[1]].shape, graph.values[product.inputs[1]].shape
    by_channel = (filters[0], *[1] * (len(filters) - 2))
    return len(filters) > 2 and factor in ((), by_channel, (1, *by_channel))


def fuse_activations(graph: Graph) -> None:
    """ConvActivationFusion and GemmActivationFusion: an activation that alone reads the product is computed with it."""
    readers = graph.consumers()
    results = set(graph.results)
    for node in graph.ordered():  # a fused node is a new one: it decides how siblings are ordered from here on
        if node.kind not in ("Conv", "Gemm") or node.activation or node.outputs[0] in results:
            continue
        after = readers.get(node.outputs[0], [])
        if len(after) == 1 and after[0].kind in FUSED_INTO_CONV and after[0].index in graph.nodes:
            if node.kind == "Gemm" and after[0].kind == "Clip":
                continue
            fused = graph.replace(node, node.kind)
            fused.activation, fused.outputs = after[0].kind, list(after[0].outputs)
            graph.remove(after[0])


def fuse_additions(graph: Graph) -> None:
    """ConvAddActivationFusion: a plain convolution takes the tensor that is added to its result, and what follows.

    It has to have a bias: the fusion has no empty argument to put in its place.
    """
    readers = graph.consumers()
    producers = graph.producers()
    results = set(graph.results)
    for node in graph.ordered():
        if node.kind != "Add" or node.index not in graph.nodes or len(node.inputs) != 2:
            continue
        shapes = {graph.values[v].shape for v in node.inputs}
        if len(graph.values[node.outputs[0]].shape) != 4:
            continue
        for mine, other in (node.inputs, node.inputs[::-1]):
            conv = producers.get(mine)
            if conv is None or conv.kind != "Conv" or conv.blocked or conv.activation or conv.index not in graph.nodes:
                continue
            if len(conv.inputs) != 3 or len(shapes) != 1 or len(readers.get(mine, ())) != 1 or mine in results:
                continue
            fused = graph.replace(conv, "Conv")
            fused.inputs = [*conv.inputs, other]
            fused.outputs = list(node.outputs)
            graph.remove(node)
            after = readers.get(node.outputs[0], [])
            if len(after) == 1 and after[0].kind in FUSED_INTO_CONV and node.outputs[0] not in results:
                fused.activation, fused.outputs = after[0].kind, list(after[0].outputs)
                graph.remove(after[0])
            producers[fused.outputs[0]] = fused
            break
