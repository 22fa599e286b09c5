"""The layout pass of x86-64: convolutions over blocks of channels, and what follows them, `NchwcTransformer`.

`core/optimizer/nchwc_transformer.cc`. The block is 16 floats with AVX-512, 8 otherwise (mlas/lib/platform.cpp); Arm's
released wheels have no blocked kernels, so there the pass does not run. Channels are padded to whole blocks, and every
filter is copied in the new order while its original is still held: this is the load peak of a CNN on x86-64.
"""

from dataclasses import dataclass

from edgebudget.runtimes._onnxruntime.ir import ABSENT, Graph, Node

CHANNEL_ALIGN = 4  # what ReorderInput needs
FUSED_ACTIVATIONS = frozenset({"Relu", "Sigmoid", "Tanh", "HardSigmoid"})
ACTIVATIONS = FUSED_ACTIVATIONS | {"Gelu", "QuickGelu"}


@dataclass(slots=True, eq=False)
class Blocked:
    """The blocked form of a value: who makes it, and how often the plain form was and still is read."""

    node: Node
    value: int
    channels: int
    starting_uses: int
    remaining_uses: int


@dataclass(frozen=True, slots=True)
class Reordered:
    """A filter, scale or bias copied into blocks: all are initializers.

    `after_removal`: since the copy before, an addition and its activation were fused, and their nodes removed.
    """

    original: int
    copy: int
    is_scale: bool
    after_removal: bool


class BlockedLayout:
    """One run of the pass over a graph, in place. `reordered` are the copies in the order in which they were made."""

    def __init__(self, graph: Graph, block: int) -> None:
        self.graph = graph
        self.block = block
        self.reordered: list[Reordered] = []
        self._has_removed = False
        self._blocked: dict[int, Blocked] = {}
        self._reordered_inputs: dict[int, int] = {}
        self._copies: dict[tuple[int, str], int] = {}
        self._readers = graph.consumers()
        self._results = set(graph.results)
        self._producers = graph.producers()
        self._touched: set[int] = set()  # nodes whose inputs were all rewired
        self._removed: set[int] = set()

    def run(self) -> None:
        for node in self.graph.ordered():
            if node.index not in self._removed:
                self._transform(node)
        for value, blocked in self._blocked.items():
            if blocked.remaining_uses > 0:
                self.graph.add("ReorderOutput", [blocked.value], [value], blocked.node.op)
        for index in self._removed:
            self.graph.nodes.pop(index, None)

    def _transform(self, node: Node) -> None:
        if node.kind == "Conv":
            self._convolution(node)
        elif node.kind in ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"):
            self._pool(node)
        elif node.kind == "Mul":
            self._multiply(node)
        elif node.kind == "Add":
            self._binary(node, adding=True)
        elif node.kind == "Concat":
            self._concatenate(node)
        elif node.kind in ACTIVATIONS:
            self._activation(node)
        elif node.kind == "BatchNormalization":
            self._batch_norm(node)
        elif node.kind == "Transpose":
            self._transpose(node)
        elif node.kind == "Resize":
            self._resize(node)

    def _up(self, channels: int) -> int:
        return -(-channels // self.block) * self.block

    def _uses(self, value: int) -> int:
        return len(self._readers.get(value, ())) + (value in self._results)

    def _make(self, value: int, node: Node, channels: int) -> None:
        """CreateNchwcArgument: `node` now makes the blocked form of `value`."""
        shape = self.graph.values[value].shape
        made = self.graph.value((shape[0], self._up(channels), *shape[2:]), self.graph.values[value].itemsize)
        uses = self._uses(value)
        self._blocked[value] = Blocked(node, made, channels, uses, uses)
        node.outputs = [made]

    def _fuse(self, value: int, into: Blocked) -> None:
        """FuseNchwcArgument: `value` is what `into` makes, now that its last operator is fused."""
        uses = self._uses(value)
        self._blocked[value] = Blocked(into.node, into.node.outputs[0], into.channels, uses, uses)

    def _copy(self, original: int, shape: tuple[int, ...], form: str) -> int:
        key = (original, form)
        if key not in self._copies:
            self._copies[key] = self.graph.value(shape, 4, constant=True)
            self.reordered.append(Reordered(original, self._copies[key], form.startswith("scale"), self._has_removed))
            self._has_removed = False
        return self._copies[key]

    def _reorder_input(self, value: int, op: int) -> int:
        if value not in self._reordered_inputs:
            shape = self.graph.values[value].shape
            made = self.graph.value((shape[0], self._up(shape[1]), *shape[2:]), 4)
            source = value
            producer = self._producers.get(value)
            if producer is not None and self._uses(value) == 1 and self._is_to_nchw(producer):
                source = producer.inputs[0]  # ReorderInput reads channels last
                self._removed.add(producer.index)
            self.graph.add("ReorderInput", [source], [made], op)
            self._reordered_inputs[value] = made
        return self._reordered_inputs[value]

    def _is_to_nchw(self, node: Node) -> bool:
        return node.kind == "Transpose" and node.permutation == (0, 3, 1, 2)

    def _convolution(self, node: Node) -> None:
        values = self.graph.values
        weight = node.inputs[1]
        shape = values[weight].shape
        added = node.inputs[3] if len(node.inputs) > 3 else ABSENT
        if added != ABSENT and added not in self._blocked:
            return
        if not values[weight].constant or len(shape) != 4 or values[weight].itemsize != 4 or node.window is None:
            return
        out_channels, in_channels = shape[0], shape[1]
        groups, block = node.window.groups, self.block
        padded_out = self._up(out_channels)
        reads_blocks, form, filter_in = True, "OIHWBiBo", in_channels
        if groups > 1:
            if out_channels % CHANNEL_ALIGN:
                return
            if in_channels == 1 and out_channels == groups:
                form = "OIHWBo"
            elif in_channels % block or out_channels % groups or (out_channels // groups) % block:
                return
        elif in_channels < block:
            reads_blocks, form = False, "OIHWBo"
        else:
            if in_channels % CHANNEL_ALIGN:
                return
            filter_in = self._up(in_channels)
        bias = node.inputs[2] if len(node.inputs) > 2 else ABSENT
        if bias != ABSENT and not values[bias].constant:
            return
        new = self.graph.add("Conv", node.inputs, node.outputs, node.op)
        new.blocked, new.window, new.activation = True, node.window, node.activation
        new.inputs[1] = self._copy(weight, (padded_out, filter_in, *shape[2:]), form)
        if bias != ABSENT and out_channels != padded_out:
            new.inputs[2] = self._copy(bias, (padded_out,), "bias")
        if added != ABSENT:
            new.inputs[3] = self._blocked[added].value
            self._blocked[added].remaining_uses -= 1
        if reads_blocks:
            source = self._blocked.get(node.inputs[0])
            if source is None:
                new.inputs[0] = self._reorder_input(node.inputs[0], node.op)
            else:
                new.inputs[0] = source.value
                source.remaining_uses -= 1
        self._make(node.outputs[0], new, out_channels)
        self._removed.add(node.index)

    def _pool(self, node: Node) -> None:
        value = self.graph.values[node.inputs[0]]
        if len(value.shape) != 4 or value.itemsize != 4 or value.shape[1] % self.block or node.window is None:
            return
        if node.kind == "AveragePool" and node.window.ceil_mode and node.window.count_include_pad:
            return
        source = self._blocked.get(node.inputs[0])
        new = self.graph.add(node.kind, node.inputs, node.outputs, node.op)
        new.blocked, new.window = True, node.window
        if source is None:
            new.inputs[0] = self._reorder_input(node.inputs[0], node.op)
        else:
            new.inputs[0] = source.value
            source.remaining_uses -= 1
        self._make(node.outputs[0], new, value.shape[1])
        self._removed.add(node.index)

    def _multiply(self, node: Node) -> None:
        if len(node.inputs) != 2:
            return
        one, other = (self._blocked.get(v) for v in node.inputs)
        if one is not None and other is not None:
            self._binary(node, adding=False)
            return
        source = one or other
        scale = node.inputs[1] if one is not None else node.inputs[0]
        if source is None or not self.graph.values[scale].constant:
            return
        channels = source.channels
        if self.graph.values[scale].shape not in ((channels, 1, 1), (1, channels, 1, 1)):
            return
        self._as_depthwise(node, source, scale, ABSENT)

    def _as_depthwise(self, node: Node, source: Blocked, scale: int, bias: int) -> None:
        """A scale (and shift) by channel becomes a 1x1 depthwise convolution."""
        padded = self._up(source.channels)
        inputs = [source.value, self._copy(scale, (padded, 1, 1, 1), f"scale of {node.index}")]
        if bias != ABSENT:
            inputs.append(self._copy(bias, (padded,), f"shift of {node.index}"))
        new = self.graph.add("Conv", inputs, node.outputs, node.op)
        new.blocked = True
        source.remaining_uses -= 1
        self._make(node.outputs[0], new, source.channels)
        self._removed.add(node.index)

    def _binary(self, node: Node, *, adding: bool) -> None:
        sources = [self._blocked.get(v) for v in node.inputs]
        if len(sources) != 2 or sources[0] is None or sources[1] is None:
            return
        first, second = sources[0], sources[1]
        shapes = [self.graph.values[v].shape for v in node.inputs]
        if first.channels != second.channels or shapes[0] != shapes[1]:
            return
        node.inputs = [first.value, second.value]
        first.remaining_uses -= 1
        second.remaining_uses -= 1
        for mine, theirs in ((first, second), (second, first)) if adding else ():
            conv = mine.node
            takes = conv.kind == "Conv" and conv.blocked and len(conv.inputs) < 4 and not conv.activation
            if takes and mine.starting_uses == 1:
                conv.inputs.extend([ABSENT] * (3 - len(conv.inputs)))
                conv.inputs.append(theirs.node.outputs[0])
                self._fuse(node.outputs[0], mine)
                self._removed.add(node.index)
                return
        self._make(node.outputs[0], node, first.channels)

    def _concatenate(self, node: Node) -> None:
        sources = [self._blocked.get(v) for v in node.inputs]
        known = [s for s in sources if s is not None and s.channels % self.block == 0]
        if node.axis != 1 or len(known) != len(node.inputs):
            return
        node.inputs = [s.value for s in known]
        for source in known:
            source.remaining_uses -= 1
        self._make(node.outputs[0], node, sum(s.channels for s in known))

    def _activation(self, node: Node) -> None:
        source = self._blocked.get(node.inputs[0])
        if source is None or self._hard_swish(node, source):
            return
        node.inputs = [source.value, *node.inputs[1:]]
        source.remaining_uses -= 1
        conv = source.node
        alone = source.starting_uses == 1 and conv.kind == "Conv" and conv.blocked and not conv.activation
        if node.kind in FUSED_ACTIVATIONS and alone:
            conv.activation = node.kind
            self._has_removed |= len(conv.inputs) == 4
            self._fuse(node.outputs[0], source)
            self._removed.add(node.index)
        else:
            self._make(node.outputs[0], node, source.channels)

    def _hard_swish(self, gate: Node, source: Blocked) -> bool:
        """TryFuseNchwcHardSwish: a convolution read by nothing but x * HardSigmoid(x) takes it as its activation."""
        conv = source.node
        if gate.kind != "HardSigmoid" or conv.kind != "Conv" or not conv.blocked or conv.activation:
            return False
        readers = self._readers.get(gate.inputs[0], [])
        products = [reader for reader in readers if reader.kind == "Mul" and gate.outputs[0] in reader.inputs]
        if source.starting_uses != 2 or len(products) != 1 or self._uses(gate.outputs[0]) != 1:
            return False
        product = products[0]
        if product.outputs[0] in self._results:
            return False
        conv.activation = "HardSwish"
        source.remaining_uses -= 2
        self._removed.update((gate.index, product.index))
        self._fuse(product.outputs[0], source)
        return True

    def _batch_norm(self, node: Node) -> None:
        source = self._blocked.get(node.inputs[0])
        if source is None or not all(self.graph.values[v].constant for v in node.inputs[1:5]):
            return
        self._as_depthwise(node, source, node.inputs[1], node.inputs[2])

    def _transpose(self, node: Node) -> None:
        source = self._blocked.get(node.inputs[0])
        if source is None or node.permutation != (0, 2, 3, 1):
            return
        self.graph.add("ReorderOutput", [source.value], node.outputs, node.op)
        source.remaining_uses -= 1
        self._removed.add(node.index)

    def _resize(self, node: Node) -> None:
        """Whole-numbered scales only, nearest or linear."""
        source = self._blocked.get(node.inputs[0])
        before, after = self.graph.values[node.inputs[0]].shape, self.graph.values[node.outputs[0]].shape
        if source is None or node.mode not in ("nearest", "linear") or len(before) != 4:
            return
        if any(new % old for old, new in zip(before[2:], after[2:], strict=True)):
            return
        new = self.graph.add("Upsample", [source.value], node.outputs, node.op)
        new.blocked = True
        source.remaining_uses -= 1
        self._make(node.outputs[0], new, source.channels)
        self._removed.add(node.index)
