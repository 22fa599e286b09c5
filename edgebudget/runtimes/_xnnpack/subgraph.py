"""One delegate's XNNPACK subgraph: its nodes in order, the copies between layouts, and what each node costs.

Follows backends/xnnpack/_passes: FuseBatchNorm, DecomposeBatchNorm, FuseActivation, DecomposeConcatenate,
RemoveRedundantCopy, ChannelsLastTaggedReshape; and backends/xnnpack/operators for what a node becomes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

from edgebudget.graph import ITEMSIZE
from edgebudget.runtimes._xnnpack import operators
from edgebudget.runtimes._xnnpack.edge import EdgeGraph, EdgeOp, Shape
from edgebudget.runtimes._xnnpack.memory_planner import Usage, arena_bytes, rounded_nbytes
from edgebudget.runtimes._xnnpack.operators import F16, F32, QS8, SIMPLE, Cost, Precision
from edgebudget.runtimes._xnnpack.tiles import Tiles

_NEEDS_NHWC = frozenset({"convolution", "mean", "max_pool2d", "avg_pool2d", "upsample_bilinear2d", "prelu", "batch_norm"})
_NEEDS_NCHW = frozenset({"view_copy", "squeeze_copy", "unsqueeze_copy", "linear"})
_ACTIVATIONS = frozenset({"relu", "hardtanh"})
_FUSES_ACTIVATION = frozenset({"convolution", "add", "sub", "mul", "linear"})
# runtime.c, optimize_tensor_allocation_for_in_place_operations: unary, binary, copy, softmax, static_reshape
_IN_PLACE = frozenset({"unary", "binary", "copy", "softmax", "reshape"})
_KIND = {
    **dict.fromkeys(("add", "sub", "mul", "div", "maximum", "minimum", "prelu"), "binary"),
    "view_copy": "reshape", "unsqueeze_copy": "reshape", "permute_copy": "transpose", "_softmax": "softmax",
    "slice_copy": "slice", "constant_pad_nd": "pad", "cat": "cat",
}  # fmt: skip


@dataclass(slots=True)
class XnnNode:
    """A node of the subgraph: values are positions in `Subgraph.sizes`."""

    kind: str
    inputs: list[int]
    output: int
    cost: Cost
    name: str


@dataclass
class Subgraph:
    """A delegate: `sizes[v]` bytes of each value, `external[v]` where it lives in the method's arena."""

    sizes: list[int] = field(default_factory=list)
    external: list[bool] = field(default_factory=list)
    nodes: list[XnnNode] = field(default_factory=list)
    constants: int = 0  # weights and biases, which have values of their own
    constant_bytes: int = 0  # what the program file holds for them


def activation_precision(dtype: str) -> Precision:
    return F16 if dtype == "float16" else F32


class _Builder:
    def __init__(self, graph: EdgeGraph, tiles: Tiles) -> None:
        self.graph = graph
        self.tiles = tiles
        self.out = Subgraph()
        self.forms: dict[tuple[int, bool, bool], int] = {}  # (edge value, NHWC, int8) -> position
        self.home: dict[int, tuple[bool, bool]] = {}  # the form a value was made in
        self.incoming: set[int] = set()  # edge values that come from outside

    def value(self, edge: int, nhwc: bool, int8: bool, external: bool = False) -> int:
        sub = self.out
        sub.sizes.append(prod(self.graph.shapes[edge]) * (1 if int8 else ITEMSIZE[self.graph.dtypes[edge]]))
        sub.external.append(external)
        position = len(sub.sizes) - 1
        self.forms[edge, nhwc, int8] = position
        return position

    def node(self, kind: str, inputs: list[int], output: int, cost: Cost = SIMPLE, name: str = "") -> None:
        self.out.nodes.append(XnnNode(kind, inputs, output, cost, name or kind))

    def get(self, edge: int, nhwc: bool, int8: bool) -> int:
        """Return where `edge` stands in the form asked for, converting it where it does not yet exist.

        Layouts change on the int8 side of a conversion; a transposed int8 value is made anew for each reader
        (`insert_copy_q_dq`), a float one is shared (`make_partners`).
        """
        if edge not in self.home:
            self.home[edge] = (False, False)
            self.incoming.add(edge)
            self.value(edge, False, False, external=True)
        found = self.forms.get((edge, nhwc, int8))
        made_nhwc, made_int8 = self.home[edge]
        if found is not None and (not int8 or (nhwc, int8) == self.home[edge] or nhwc == made_nhwc):
            if int8 or not made_int8:
                return found
        position = self.forms[edge, made_nhwc, made_int8]
        if not made_int8 and int8:
            held = self.forms.get((edge, made_nhwc, True))
            if held is None:
                held = self.value(edge, made_nhwc, True)
                self.node("convert", [position], held)
            position = held
        if made_nhwc != nhwc:
            turned = self.value(edge, nhwc, made_int8 or int8)
            self.node("transpose", [position], turned)
            position = turned
        if made_int8 and not int8:
            plain = self.value(edge, nhwc, False)
            self.node("convert", [position], plain)
            position = plain
        return position

    def produce(self, edge: int, nhwc: bool, int8: bool) -> int:
        self.home[edge] = (nhwc, int8)
        return self.value(edge, nhwc, int8)


def build(
    graph: EdgeGraph, ops: list[EdgeOp], readers: Mapping[int, list[EdgeOp]], kept: frozenset[int] | set[int], tiles: Tiles
) -> Subgraph:
    """Return the subgraph of the delegate made of `ops`. Pure.

    `readers` are the operators that read each value, in the whole model; `kept` the values the model returns.
    """
    made = _Builder(graph, tiles)
    inside = {id(op) for op in ops}
    replaced: dict[int, int] = {}  # a fused operator's output -> the value that stands for it
    skip: set[int] = set()
    for op in ops:
        if id(op) in skip:
            continue
        final = _fuse(op, readers, kept, inside, skip)
        for value in op.outputs:
            if final is not op:
                replaced[value] = final.outputs[0]
        _emit(made, op, final, readers, kept, inside)
    for op in ops:
        for value in op.outputs:
            stands = replaced.get(value, value)
            if stands != value or value not in made.home:
                continue
            if value in kept or any(id(reader) not in inside for reader in readers.get(value, ())):
                position = made.get(value, False, False)
                made.out.external[position] = True
    return made.out


def _fuse(
    op: EdgeOp, readers: Mapping[int, list[EdgeOp]], kept: frozenset[int] | set[int], inside: set[int], skip: set[int]
) -> EdgeOp:
    """Return the last operator that `op` absorbs: a batch norm behind a convolution, a clamp behind what can clamp."""
    final = op
    if op.target in ("convolution", "linear"):
        follower = _sole_reader(final, readers, kept, inside)
        if follower is not None and follower.target == "batch_norm":
            skip.add(id(follower))
            final = follower
    if op.target in _FUSES_ACTIVATION:
        follower = _sole_reader(final, readers, kept, inside)
        if follower is not None and follower.target in _ACTIVATIONS:
            skip.add(id(follower))
            final = follower
    return final


def _sole_reader(
    op: EdgeOp, readers: Mapping[int, list[EdgeOp]], kept: frozenset[int] | set[int], inside: set[int]
) -> EdgeOp | None:
    value = op.outputs[0]
    following = readers.get(value, ())
    if len(following) != 1 or value in kept or id(following[0]) not in inside:
        return None
    return following[0]


def _emit(
    made: _Builder,
    op: EdgeOp,
    final: EdgeOp,
    readers: Mapping[int, list[EdgeOp]],
    kept: frozenset[int] | set[int],
    inside: set[int],
) -> None:
    graph, tiles = made.graph, made.tiles
    output = final.outputs[0]
    constant, shapes = graph.constant, graph.shapes
    activations = [v for v in op.inputs if not constant[v]]
    int8 = op.quantized
    if op.target == "clone":
        source = activations[0]
        leaves = output in kept or any(id(r) not in inside for r in readers.get(output, ()))
        nhwc, held = made.home.get(source, (False, False))
        if source not in made.home and leaves:
            position = made.get(source, False, False)
            made.node("copy", [position], made.produce(output, False, False), SIMPLE, op.target)
            return
        position = made.get(source, nhwc, held)
        made.home[output] = (nhwc, held)
        made.forms[output, nhwc, held] = position
        return
    if op.target in _NEEDS_NHWC:
        nhwc = True
        reads_nhwc = True
    elif op.target in _NEEDS_NCHW:
        nhwc = reads_nhwc = False
    else:
        layouts = [made.home.get(v, (False, False))[0] if not constant[v] else False for v in op.inputs]
        if all(layouts):
            nhwc = True
        elif any(layouts):
            nhwc = all(len(shapes[v]) == 4 for v in op.inputs)
        else:
            nhwc = False
        reads_nhwc = nhwc
    positions = [made.get(v, reads_nhwc, int8) for v in dict.fromkeys(activations)]
    precision = QS8 if int8 else activation_precision(graph.dtypes[output])
    cost = _cost(op, graph, tiles, precision, made.out)
    kind = _KIND.get(op.target, op.target if op.target in _NEEDS_NHWC or op.target in ("linear", "bmm") else "unary")
    if op.target == "cat":
        _concatenate(made, op, activations, reads_nhwc, int8, output, nhwc)
        return
    position = made.produce(output, nhwc, int8)
    made.node(kind, positions, position, cost, op.target)


def _concatenate(
    made: _Builder, op: EdgeOp, parts: list[int], reads_nhwc: bool, int8: bool, output: int, nhwc: bool
) -> None:
    """At most five at a time: DecomposeConcatenate."""
    positions = [made.get(v, reads_nhwc, int8) for v in parts]
    shapes, shape = made.graph.shapes, made.graph.shapes[output]
    joined = sum(prod(shapes[v]) for v in parts[:5])
    rest = 5
    while len(positions) > 5:
        size = joined * (1 if int8 else ITEMSIZE[made.graph.dtypes[output]])
        made.out.sizes.append(size)
        made.out.external.append(False)
        made.node("cat", positions[:5], len(made.out.sizes) - 1, SIMPLE, op.target)
        positions = [len(made.out.sizes) - 1, *positions[5:]]
        joined += sum(prod(shapes[v]) for v in parts[rest : rest + 4])
        rest += 4
    del shape
    made.node("cat", positions, made.produce(output, nhwc, int8), SIMPLE, op.target)


def _spatial(shape: Shape) -> tuple[int, int]:
    return (shape[2], shape[3]) if len(shape) == 4 else (shape[-1], 1)


def _cost(op: EdgeOp, graph: EdgeGraph, tiles: Tiles, precision: Precision, sub: Subgraph) -> Cost:
    shapes = graph.shapes
    shape, target = shapes[op.outputs[0]], op.target
    if target == "convolution":
        weight = shapes[op.inputs[1]]
        if len(weight) == 3:
            weight = (*weight, 1)
        _count_constants(sub, prod(weight), weight[0], precision, len(op.inputs) > 2)
        transposed = bool(op.params[7])
        make = operators.transposed_convolution if transposed else operators.convolution
        return make(tiles, precision, weight, op.params, _spatial(shape))
    if target in ("linear", "mm", "addmm"):
        weight = shapes[op.inputs[1]]
        outputs, inputs = (weight[0], weight[1]) if target == "linear" else (weight[1], weight[0])
        _count_constants(sub, outputs * inputs, outputs, precision, len(op.inputs) > 2)
        return operators.fully_connected(tiles, precision, inputs, outputs)
    if target == "batch_norm":
        channels = shape[1]
        _count_constants(sub, channels, channels, precision, True)
        params = (1, 1, 0, 0, 1, 1, channels, 0)
        return operators.convolution(tiles, precision, (channels, 1, 1, 1), params, _spatial(shape))
    if target == "bmm":
        return operators.batch_matmul(tiles, precision, shape[0], shapes[op.inputs[0]][2], shape[2])
    if target == "max_pool2d":
        return operators.max_pooling(tiles, op.params, _spatial(shape))
    if target == "avg_pool2d":
        return operators.average_pooling(tiles, precision, op.params, shape[1], _spatial(shape))
    if target == "mean":
        return operators.global_pooling(precision, shape[1])
    if target == "upsample_bilinear2d":
        return operators.resize_bilinear(tiles, precision, _spatial(shape))
    return SIMPLE


def _count_constants(sub: Subgraph, weights: int, channels: int, precision: Precision, has_bias: bool) -> None:
    sub.constants += 1 + int(has_bias)
    scales = channels * 4 if precision is QS8 else 0
    sub.constant_bytes += weights * precision.weight + (channels * precision.bias if has_bias else 0) + scales


def workspace_bytes(sub: Subgraph, alignment: int) -> int:
    """Return the workspace XNNPACK plans for `sub`: values, then operators' scratch, with results over inputs where
    it allows that; 0 where nothing is planned."""
    first, last, readers = _lifetimes(sub)
    sizes = [0 if sub.external[v] else rounded_nbytes(n, alignment) for v, n in enumerate(sub.sizes)]
    root = list(range(len(sizes)))
    for node in sub.nodes:
        if node.kind not in _IN_PLACE:
            continue
        result = node.output
        if sub.external[result] or len(readers[result]) != 1:
            continue
        for value in node.inputs:
            if sub.external[value] or len(readers[value]) != 1 or sub.sizes[value] != sub.sizes[result]:
                continue
            base = root[value]
            root[result] = base
            sizes[result] = 0
            last[base] = readers[result][0]
            break
    usages = [Usage(n, first[v], last[v]) for v, n in enumerate(sizes) if n]
    usages += [
        Usage(rounded_nbytes(node.cost.workspace, alignment), i, i)
        for i, node in enumerate(sub.nodes)
        if node.cost.workspace
    ]
    arena = arena_bytes(usages)
    return arena + 2 * 16 if arena else 0  # runtime.c, initialize_workspace_values: 2 * XNN_EXTRA_BYTES


def _lifetimes(sub: Subgraph) -> tuple[list[int], list[int], list[list[int]]]:
    count = len(sub.sizes)
    first, last = [-1] * count, [0] * count
    readers: list[list[int]] = [[] for _ in range(count)]
    for i, node in enumerate(sub.nodes):
        for v in dict.fromkeys(node.inputs):
            if first[v] < 0:
                first[v] = i
            last[v] = i
            readers[v].append(i)
        if first[node.output] < 0:
            first[node.output] = i
        last[node.output] = i
    return first, last, readers
