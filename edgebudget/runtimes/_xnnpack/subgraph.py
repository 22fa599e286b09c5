"""One delegate's XNNPACK subgraph: its nodes in order, the copies between layouts, and what each node costs.

Follows backends/xnnpack/_passes: FuseBatchNorm, DecomposeBatchNorm, FuseActivation, DecomposeConcatenate,
RemoveRedundantCopy, ChannelsLastTaggedReshape; and backends/xnnpack/operators for what a node becomes.
"""

from dataclasses import dataclass, field
from math import prod

from edgebudget.dtypes.int4_weight_only import GROUP_NUMEL
from edgebudget.graph import ITEMSIZE
from edgebudget.planning import align
from edgebudget.runtimes._xnnpack import operators
from edgebudget.runtimes._xnnpack.edge import EdgeGraph, EdgeOp, Shape
from edgebudget.runtimes._xnnpack.method import Step
from edgebudget.runtimes._xnnpack.operators import (
    F16,
    F32,
    GROUP_SCALE_BYTES,
    LOOK_UP,
    QD8,
    QS8,
    SIMPLE,
    TOKEN_BYTES,
    UNARY,
    Cost,
    Precision,
    Priced,
    concatenation,
    is_product,
)

_NEEDS_NHWC = frozenset({
    "convolution", "mean", "max_pool2d", "avg_pool2d", "upsample_bilinear2d", "prelu", "batch_norm",
})  # fmt: skip
_NEEDS_NCHW = frozenset({"view_copy", "squeeze_copy", "unsqueeze_copy", "linear"})
_ACTIVATIONS = frozenset({"relu", "hardtanh"})
_CLAMPS = frozenset({"clamp"})  # subgraph.c, optimize_common_subgraphs_merge_clamps
_NONE: frozenset[str] = frozenset()
# FuseActivationPass; batch norms are convolutions by then
_FUSES_ACTIVATION = frozenset({"convolution", "batch_norm", "add", "sub", "mul", "linear"})
_BINARY = ("add", "sub", "mul", "div", "maximum", "minimum", "prelu")
_MOVES = ("permute_copy", "slice_copy", "constant_pad_nd", "_softmax")
_KIND = {
    **dict.fromkeys(_BINARY, "binary"),
    "view_copy": "reshape", "unsqueeze_copy": "reshape", "permute_copy": "transpose", "_softmax": "softmax",
    "slice_copy": "slice", "constant_pad_nd": "pad", "cat": "cat",
}  # fmt: skip


@dataclass(slots=True)
class XnnNode:
    """A node of the subgraph: values are positions in `Subgraph.sizes`."""

    kind: str
    inputs: list[int]
    output: int
    cost: Cost | Priced
    name: str
    module: str = ""
    order: float = 0.0  # where it runs among the others


@dataclass
class Subgraph:
    """A delegate: `sizes[v]` bytes of each value, `external[v]` where it lives in the method's arena."""

    sizes: list[int] = field(default_factory=list)
    external: list[bool] = field(default_factory=list)
    int8: list[bool] = field(default_factory=list)
    nodes: list[XnnNode] = field(default_factory=list)
    constants: int = 0  # weights and biases, which have values of their own
    stored: dict[tuple[int, int], int] = field(default_factory=dict)  # constant, its bytes -> those with padding
    scales: int = 0  # arrays of scales, which have a buffer but no value
    scalars: int = 0  # numbers and parameters that an operator takes as an operand
    clamps: int = 0  # nodes, each with a value, that XNNPACK defines and then folds away
    dropped: int = 0  # values among those of clamps that stay in the tables
    defined_nodes: int = 0  # nodes before any is folded
    tabulated_bytes: int = 0  # the largest value within a chain that became a table


DATA_ALIGNMENT = 128  # of what a program file holds by name, and of its segments (exir/_serialize/_program.py)
SPARE_IMAGES = 15  # XNN_EXTRA_QUANTIZATION_PARAMS


def activation_precision(dtype: str) -> Precision:
    return F16 if dtype == "float16" else F32


class _Builder:
    def __init__(self, graph: EdgeGraph, step: Step) -> None:
        self.graph = graph
        self.makes = frozenset(step.makes)
        self.arriving = frozenset(step.reads)  # `~value` where another delegate hands it over as int8
        self.module = ""  # of the operator at hand, for people
        self.out = Subgraph()
        self.forms: dict[tuple[int, bool, bool], int] = {}  # (edge value, NHWC, int8) -> position
        self.own: dict[tuple[int, bool, bool, int], int] = {}  # the same for one reader
        self.quantized: dict[int, int] = {}  # position -> its dynamically quantized form
        self.made_at: dict[int, float] = {}  # position -> the order of the node that makes it
        self.home: dict[int, tuple[bool, bool]] = {}  # the form a value was made in

    def value(self, edge: int, nhwc: bool, int8: bool, external: bool = False) -> int:
        elements = prod(self.graph.shapes[edge])
        position = self.scratch(elements * (1 if int8 else ITEMSIZE[self.graph.dtypes[edge]]), int8)
        self.out.external[position] = external
        self.forms[edge, nhwc, int8] = position
        return position

    def scratch(self, nbytes: int, int8: bool) -> int:
        """Add a value that stands for no edge value."""
        sub = self.out
        sub.sizes.append(nbytes)
        sub.external.append(False)
        sub.int8.append(int8)
        return len(sub.sizes) - 1

    def node(self, kind: str, inputs: list[int], output: int, cost: Cost | Priced = SIMPLE, name: str = "") -> None:
        order = float(len(self.out.nodes))
        self.made_at[output] = order
        self.out.nodes.append(XnnNode(kind, inputs, output, cost, name or kind, self.module, order))

    def copy_after(self, source: int, output: int) -> None:
        """Add a layout copy that runs right behind what makes `source`, first of all where that comes from outside."""
        order = self.made_at.get(source, -1.0) + 0.5
        self.made_at[output] = order
        self.out.nodes.append(XnnNode("transpose", [source], output, SIMPLE, "transpose", self.module, order))

    def get(self, edge: int, nhwc: bool, int8: bool, reader: int) -> int:
        """Return where `edge` stands in the form asked for, converting it where it does not yet exist.

        Layouts change on the int8 side of a conversion. What is made for a reader (an operator of the trace) from an
        int8 value is that reader's own, since each has its own dequantize node; float layouts are shared
        (`make_partners`).
        """
        made_nhwc, made_int8 = self.home.get(edge, (False, False))
        if edge not in self.home:
            made_int8 = ~edge in self.arriving and (int8 or edge not in self.arriving)
            if (edge, False, made_int8) not in self.forms:
                self.value(edge, False, made_int8, external=True)
        if (nhwc, int8) == (made_nhwc, made_int8):
            return self.forms[edge, nhwc, int8]
        if not made_int8:
            if int8:
                held = self.forms.get((edge, made_nhwc, True))
                if held is None:
                    held = self.value(edge, made_nhwc, True)
                    self.node("convert", [self.forms[edge, made_nhwc, False]], held)
                return held if made_nhwc == nhwc else self._own(edge, held, made_nhwc, nhwc, True, reader)
            found = self.forms.get((edge, nhwc, False))
            if found is None:
                found = self.value(edge, nhwc, False)
                self.copy_after(self.forms[edge, made_nhwc, False], found)
            return found
        return self._own(edge, self.forms[edge, made_nhwc, True], made_nhwc, nhwc, int8, reader)

    def _own(self, edge: int, held: int, made_nhwc: bool, nhwc: bool, int8: bool, reader: int) -> int:
        key = (edge, nhwc, int8, reader)
        found = self.own.get(key)
        if found is not None:
            return found
        elements = prod(self.graph.shapes[edge])
        if nhwc != made_nhwc:
            turned = self.scratch(elements, True)
            self.node("transpose", [held], turned)
            held = turned
        if not int8:
            plain = self.scratch(elements * ITEMSIZE[self.graph.dtypes[edge]], False)
            self.node("convert", [held], plain)
            held = plain
        self.own[key] = held
        return held

    def dynamic(self, edge: int, position: int, op: EdgeOp) -> int:
        """Return what `op` reads of the value at `position`, which it takes as int8 with parameters for each row.

        A product reads the value itself and quantizes rows as it goes (subgraph.c, "Short-circuit the inputs of the
        producer"), and of the node that would have quantized it a value is left that nothing uses. Other convolutions
        over one value share its int8 form, with parameters for each image.
        """
        if op.target == "linear" or (not op.params[7] and is_product(self.graph.shapes[op.inputs[1]], op.params)):
            self.out.clamps += 1
            self.out.dropped += 1
            return position
        found = self.quantized.get(position)
        if found is None:
            shape = self.graph.shapes[edge]
            found = self.scratch(prod(shape) + (shape[0] + SPARE_IMAGES) * TOKEN_BYTES, True)
            self.node("convert", [position], found, UNARY)
            self.quantized[position] = found
        return found

    def produce(self, edge: int, nhwc: bool, int8: bool) -> int:
        self.home[edge] = (nhwc, int8)
        return self.value(edge, nhwc, int8)


def build(step: Step, graph: EdgeGraph) -> Subgraph:
    """Return the subgraph of the delegate that `step` calls, whatever kernels will run it. Pure."""
    made = _Builder(graph, step)
    skip: set[int] = set()
    for op in step.ops:
        if id(op) not in skip:
            made.module = op.module
            _emit(made, op, _fuse(op, graph, skip))
    for value in step.makes:
        position = made.get(value, False, False, -1) if value >= 0 else made.get(~value, False, True, -1)
        made.out.external[position] = True
    made.out.nodes.sort(key=lambda node: node.order)
    made.out.defined_nodes = len(made.out.nodes) + made.out.clamps
    made.out.nodes = _fold_tables(made.out)
    return made.out


def _fold_tables(sub: Subgraph) -> list[XnnNode]:
    """Return the nodes with chains of unary operators from int8 to int8 as one table look-up each.

    subgraph.c, xnn_subgraph_fuse_unary_quantized_into_lut: each value on the way has one reader, ten nodes at most.
    """
    if not any(sub.int8):
        return sub.nodes
    readers: dict[int, list[int]] = {}
    for i, node in enumerate(sub.nodes):
        for v in set(node.inputs):
            readers.setdefault(v, []).append(i)
    gone: set[int] = set()
    tables: dict[int, XnnNode] = {}  # in the place of the last node of their chain
    for i, node in enumerate(sub.nodes):
        if i in gone:
            continue
        if _is_unary(node) and sub.int8[node.inputs[0]]:
            chain = [i]
            while len(chain) < 10:
                output = sub.nodes[chain[-1]].output
                following = readers.get(output, ())
                if sub.external[output] or len(following) != 1 or not _is_unary(sub.nodes[following[0]]):
                    break
                chain.append(following[0])
            while len(chain) > 1 and not sub.int8[sub.nodes[chain[-1]].output]:
                chain.pop()
            if len(chain) > 1:
                gone.update(chain)
                last = sub.nodes[chain[-1]]
                for k in chain[:-1]:
                    sub.tabulated_bytes = max(sub.tabulated_bytes, sub.sizes[sub.nodes[k].output])
                    sub.sizes[sub.nodes[k].output] = 0
                tables[chain[-1]] = XnnNode("unary", node.inputs, last.output, LOOK_UP, "lookup_table", node.module)
    return [tables.get(i, node) for i, node in enumerate(sub.nodes) if i not in gone or i in tables]


def _is_unary(node: XnnNode) -> bool:
    return node.kind in ("unary", "convert") and len(node.inputs) == 1


def _fuse(op: EdgeOp, graph: EdgeGraph, skip: set[int]) -> EdgeOp:
    """Return the last operator that `op` absorbs: a batch norm behind a convolution, a clamp behind what can clamp.

    FuseBatchNormPass needs a weight that is a parameter itself: one in 4 bits is dequantized first.
    """
    final = op
    if op.target in ("convolution", "linear") and graph.weights.get(op.index) != "qb4w":
        follower = _sole_reader(final, graph)
        if follower is not None and follower.target == "batch_norm":
            skip.add(id(follower))
            final = follower
    accepted = _ACTIVATIONS if op.target in _FUSES_ACTIVATION else _CLAMPS if op.target in _CLAMPS else _NONE
    if accepted:
        follower = _sole_reader(final, graph)
        if follower is not None and follower.target in accepted:
            skip.add(id(follower))
            final = follower
    return final


def _sole_reader(op: EdgeOp, graph: EdgeGraph) -> EdgeOp | None:
    value = op.outputs[0]
    following = graph.readers.get(value, ())
    if len(following) != 1 or value in graph.kept or following[0].delegate != op.delegate:
        return None
    return following[0]


def _emit(made: _Builder, op: EdgeOp, final: EdgeOp) -> None:
    graph = made.graph
    output = final.outputs[0]
    constant, shapes = graph.constant, graph.shapes
    # A parameter that is computed on comes in from the method, like an activation.
    activations = [v for v in op.inputs if not constant[v]] or op.inputs
    int8 = op.index in graph.quantized
    if op.target == "clone":
        source = activations[0]
        nhwc, held = made.home.get(source, (False, ~source in made.arriving))
        if source not in made.home and output in made.makes:
            position = made.get(source, False, False, op.index)
            made.node("copy", [position], made.produce(output, False, False), UNARY, op.target)
            return
        position = made.get(source, nhwc, held, op.index)
        made.home[output] = (nhwc, held)
        made.forms[output, nhwc, held] = position
        return
    over_rows = op.target == "convolution" and len(shapes[op.inputs[1]]) == 3
    if over_rows:
        nhwc = reads_nhwc = False
    elif op.target in _NEEDS_NHWC:
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
    positions = [made.get(v, reads_nhwc, int8, op.index) for v in dict.fromkeys(activations)]
    precision = QS8 if int8 else QD8 if op.index in graph.weights else activation_precision(graph.dtypes[output])
    if precision is QD8:
        positions = [made.dynamic(activations[0], positions[0], op)]
    cost = _cost(op, graph, precision)
    _count_constants(made.out, op, final, graph, precision)
    kind = _KIND.get(op.target, op.target if op.target in _NEEDS_NHWC or op.target in ("linear", "bmm") else "unary")
    if op.target == "cat":
        _concatenate(made, op, activations, reads_nhwc, int8, output, nhwc)
        return
    if kind == "binary" and final is not op:
        # xnn_define_binary puts a clamp of its own behind the operator, and nothing folds it back.
        joint = made.scratch(prod(shapes[output]) * (1 if int8 else ITEMSIZE[graph.dtypes[output]]), int8)
        made.node(kind, positions, joint, cost, op.target)
        made.node("unary", [joint], made.produce(output, nhwc, int8), UNARY, final.target)
        return
    if final.target in (*_ACTIVATIONS, "clamp") and final is not op:
        made.out.clamps += 1
        # The exporter drops a relu, or what it fuses in float; XNNPACK drops the rest, whose value keeps its place.
        made.out.dropped += int((int8 and final.target == "hardtanh") or final.target == "clamp")
    if over_rows:
        _convolve_rows(made, positions[0], output, int8, cost)
        return
    position = made.produce(output, nhwc, int8)
    made.node(kind, positions, position, cost, op.target)


def _convolve_rows(made: _Builder, position: int, output: int, int8: bool, cost: Cost | Priced) -> None:
    """A convolution over one dimension: XNNPACK's are over two, so it is reshaped there and back (Conv1dUnsqueezePass),
    and what is reshaped is in channels-first order."""
    read = made.out.sizes[position]
    for kind in ("reshape", "transpose"):
        reshaped = made.scratch(read, int8)
        made.node(kind, [position], reshaped, SIMPLE)
        position = reshaped
    shape = made.graph.shapes[output]
    written = prod(shape) * (1 if int8 else ITEMSIZE[made.graph.dtypes[output]])
    for kind, own in (("convolution", cost), ("transpose", SIMPLE)):
        convolved = made.scratch(written, int8)
        made.node(kind, [position], convolved, own)
        position = convolved
    made.node("reshape", [position], made.produce(output, False, int8), SIMPLE)


def _concatenate(
    made: _Builder, op: EdgeOp, parts: list[int], reads_nhwc: bool, int8: bool, output: int, nhwc: bool
) -> None:
    """At most five at a time: DecomposeConcatenate."""
    positions = [made.get(v, reads_nhwc, int8, op.index) for v in parts]
    shapes = made.graph.shapes
    joined = sum(prod(shapes[v]) for v in parts[:5])
    rest = 5
    while len(positions) > 5:
        joint = made.scratch(joined * (1 if int8 else ITEMSIZE[made.graph.dtypes[output]]), int8)
        made.node("cat", positions[:5], joint, concatenation(5), op.target)
        positions = [joint, *positions[5:]]
        joined += sum(prod(shapes[v]) for v in parts[rest : rest + 4])
        rest += 4
    made.node("cat", positions, made.produce(output, nhwc, int8), concatenation(len(positions)), op.target)


def _spatial(shape: Shape) -> tuple[int, int]:
    return (shape[2], shape[3]) if len(shape) == 4 else (shape[-1], 1)


def _cost(op: EdgeOp, graph: EdgeGraph, precision: Precision) -> Cost | Priced:
    shapes = graph.shapes
    shape, target = shapes[op.outputs[0]], op.target
    if target == "convolution":
        weight = shapes[op.inputs[1]]
        if len(weight) == 3:
            weight = (*weight, 1)
        price = operators.transposed_convolution if op.params[7] else operators.convolution
        return Priced(price, (precision, weight, op.params, _spatial(shape), shape[0]))
    if target in ("linear", "mm", "addmm"):
        weight = shapes[op.inputs[1]]
        outputs, inputs = (weight[0], weight[1]) if target == "linear" else (weight[1], weight[0])
        rows = prod(shape[:-1]) if precision is QD8 else 1  # what else runs does not depend on them
        if graph.weights.get(op.index) == "qb4w":
            return Priced(operators.grouped_fully_connected, (inputs, outputs, rows, GROUP_NUMEL))
        return Priced(operators.fully_connected, (precision, inputs, outputs, rows))
    if target == "batch_norm":
        channels = shape[1]
        params = (1, 1, 0, 0, 1, 1, channels, 0)
        return Priced(operators.convolution, (precision, (channels, 1, 1, 1), params, _spatial(shape), shape[0]))
    if target == "bmm":
        return Priced(operators.batch_matmul, (precision, shape[0], shapes[op.inputs[0]][2], shape[2]))
    if target == "max_pool2d":
        return Priced(operators.max_pooling, (op.params, _spatial(shape)))
    if target == "avg_pool2d":
        return Priced(operators.average_pooling, (precision, op.params, shape[1], _spatial(shape)))
    if target == "mean":
        return operators.global_pooling(precision, shape[1])
    if target == "upsample_bilinear2d":
        return Priced(operators.resize_bilinear, (precision, _spatial(shape)))
    return SIMPLE if target in _BINARY or target in _MOVES else UNARY


def _count_constants(sub: Subgraph, op: EdgeOp, final: EdgeOp, graph: EdgeGraph, precision: Precision) -> None:
    """Count the weights and biases of `op` as the program holds them: folding a batch norm leaves a bias."""
    target = op.target
    if target in ("convolution", "linear", "mm", "addmm"):
        weight = graph.shapes[op.inputs[1]]
        channels = graph.shapes[op.outputs[0]][1 if target == "convolution" else -1]
        folded = final.target == "batch_norm" or _norm_between(op, final)
        scales = channels * 4 if precision in (QS8, QD8) else 0
        if graph.weights.get(op.index) == "qb4w":
            nbytes, scales = prod(weight) // 2, prod(weight) // GROUP_NUMEL * GROUP_SCALE_BYTES
        else:  # a convolution's float weights stay float32 in the file, whatever the model's type
            nbytes = prod(weight) * (4 if precision is F16 and target == "convolution" else precision.weight)
        _hold(sub, op.inputs[1], nbytes, scales)
        if len(op.inputs) > 2 or folded:
            bias = op.inputs[2] if len(op.inputs) > 2 else ~op.inputs[1]
            narrow = precision is F16 and target != "convolution"
            _hold(sub, bias, channels * (2 if narrow else 4), scales if precision is QS8 else 0)
    elif target == "batch_norm":
        # A scale and a shift are made of the running statistics, which are always there, and of what else there is.
        channels = graph.shapes[op.outputs[0]][1]
        mean, variance = op.inputs[-2:]
        scales = channels * 4 if precision is QS8 else 0
        _hold(sub, mean, channels * 4, scales)
        _hold(sub, variance, channels * 4, scales)
    else:
        for value in op.inputs:
            if graph.constant[value]:
                sub.scalars += 1


def _norm_between(op: EdgeOp, final: EdgeOp) -> bool:
    return final is not op and final.inputs[0] != op.outputs[0]


def _hold(sub: Subgraph, value: int, nbytes: int, scales_nbytes: int) -> None:
    """Count a constant, and the scales of an integer one; the file holds one copy of what several operators read."""
    sub.constants += 1
    sub.scales += int(scales_nbytes > 0)
    sub.stored[value, nbytes] = align(nbytes, DATA_ALIGNMENT) + align(scales_nbytes, DATA_ALIGNMENT)
