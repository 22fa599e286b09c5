"""What loading a session takes: the parsed file, initializers turned into tensors, copies in blocks, packed weights.

`InferenceSession::Load` and `Initialize`. The file comes through a stream buffer into protobuf. Each initializer is
then copied into an aligned tensor and its string freed (Graph::ConvertInitializersIntoOrtValues). NchwcTransformer
copies filter after filter and frees no original before it is done. PrePack packs a matrix and frees the original.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edgebudget.planning import align
from edgebudget.runtimes._glibc import CACHED_COUNT, Block, Heap
from edgebudget.runtimes._onnxruntime.arena import ALIGNED_BYTES, Arena
from edgebudget.runtimes._onnxruntime.builder import Fold
from edgebudget.runtimes._onnxruntime.ir import ABSENT, Graph, Node
from edgebudget.runtimes._onnxruntime.kernels import packed_gemm_nbytes
from edgebudget.runtimes._onnxruntime.nchwc import Reordered
from edgebudget.runtimes._onnxruntime.optimizers import Rescaled
from edgebudget.runtimes._onnxruntime.quantization import convolution_packing, packed_integer_gemm_nbytes

STREAM_BYTES = 4 << 20  # DEFAULT_PROTOBUF_BLOCK_SIZE (core/graph/model.cc)
SAFE_STRING_BYTES = 50_000_000  # protobuf's kSafeStringSize: what a parser reserves at once; beyond, it doubles
SMALL_INITIALIZER_BYTES = 127  # kSmallTensorExternalDataThreshold (core/framework/tensorprotoutils.h): kept as it is
COMPANION_BYTES = 32  # what is allocated and freed with each initializer's tensor, in a trace of all calls of malloc
IDLE_MAPPED_FROM_BYTES = 217_088  # from which size malloc maps blocks in an idle process: Python freed one as large

# Bookkeeping, measured with onnxruntime 1.31.1 on x86-64 by an allocation counter: chains of 20 and 120 equal nodes,
# the difference by 100. The session is an empty chain's: kernel registries, schemas, thread pools.
SESSION_BYTES = 1_285_800
NODE_BYTES = 3_100  # a node, its kernel and arguments: Sigmoid 2,928, Add 3,091, Clip 3,088, MatMul 3,268, Gelu 3,322
NODE_KIND_BYTES = {  # attributes and a kernel's own state; the bodies of what is fused from several nodes
    "Conv": 7_540, "ConvTranspose": 7_540, "MaxPool": 6_590, "AveragePool": 6_590, "Gemm": 4_890,
    "LayerNormalization": 4_770, "ReduceMean": 4_160, "Split": 2_950, "Gather": 3_690, "Softmax": 3_600, "Pad": 3_600,
    "QLinearConv": 10_290, "QGemm": 5_110, "QuantizeLinear": 3_600, "DequantizeLinear": 3_600, "QLinearAdd": 3_620,
    "QLinearMul": 3_620, "QLinearSigmoid": 3_560, "Slice": 3_580, "Concat": 3_490, "Transpose": 3_490,
    "Reshape": 3_350, "HardSigmoid": 3_640, "QuickGelu": 9_600, "ConvInteger": 7_540,
    "DynamicQuantizeMatMul": 11_600,
}  # fmt: skip
# Nodes of float graphs that have what they take beyond NODE_BYTES before their kernels: in the median load peaks of the
# models to build on are met to 0.2 % with it. A quantized file's pairs of nodes were counted with what operators have.
WITH_ATTRIBUTES = frozenset({
    "Conv", "ConvTranspose", "MaxPool", "AveragePool", "Gemm", "LayerNormalization", "QuickGelu",
})  # fmt: skip
GRAPH_NODE_BYTES, GRAPH_INPUT_BYTES = 1_780, 610  # a node before kernels are made: Identity 2,390, QDQ pairs 3,410
REMOVED_NODE_BYTES = 600  # what the names of a node that was optimized away still take, beside its value
FURTHER_OUTPUT_BYTES = 1_100  # of a Split
BLOCKED_BYTES = 1_110  # a blocked convolution beside a plain one: 8,652 to 7,543
ACTIVATION_BYTES = 1_640  # the attributes of a fused activation
INITIALIZER_BYTES = 1_450  # names, maps, tensor and OrtValue: a filter 1,612, a bias 1,285
REORDERED_BYTES = 860  # what is left of the original's entry
REORDERED_SPARES, SCALE_SPARES = {80: (1, 3), 112: (0, 0)}, {80: (1, 3), 112: (1, 0)}
"""Chunks that reordering one filter takes and keeps, and one scale, of the sizes of which it does not take as many as
there may be ends, and those that are in the cache again before the next one: in traces of malloc a filter keeps 3 to 12
chunks of 32 bytes, 33 of 48, 13 of 64, one of 80 and none of 112 (resnet34, mnasnet1_0, efficientnet_b0), a batch norm
that becomes a convolution one of 112 besides (densenet121, mobileone_s0), and three of 80 were just freed (mnasnet1_0,
gernet_s): models to build on."""
CACHED_BEFORE_REORDERING = {32: 6, 48: 7, 64: 7, 80: 6, 112: 5}  # in the same traces: of seven the first takes two
NODE_CHUNK_BYTES = 64  # freed with a node that was fused: after an addition and its activation went, seven are cached
REORDERING_BYTES = GRAPH_NODE_BYTES + 3 * GRAPH_INPUT_BYTES + INITIALIZER_BYTES  # a new node, and the old one stays
FRAME_NODE_BYTES = 290  # what a run holds for a node beside buffers: values, tensors, its share of the memory pattern
VALUE_INFO_BYTES = 600  # a value's type and shape in the file, held as NodeArg
# What the exporter writes for every node: module path, classes, the operator and its stack trace. A line and a file
# name for each level of modules; the text is kept, in five pairs of strings a node.
METADATA_TEXT_BYTES = 318
METADATA_LEVEL_BYTES = 280
METADATA_PAIRS_BYTES = 750
# The rest of the file: a node's inputs, outputs and attributes; an initializer's name and shape; a value's.
FILE_NODE_BYTES = 115
FILE_INITIALIZER_BYTES = 42
FILE_QUANTIZED_INITIALIZER_BYTES = 102  # the static quantizer's names are longer: least squares over 14 files, to 1.4 %
FILE_VALUE_BYTES = 60


@dataclass(frozen=True, slots=True)
class Exported:
    """The file: its initializers and nodes, and for each node with metadata how deep in the module tree it stands."""

    initializers: tuple[int, ...]
    node_count: int
    input_count: int  # of all nodes
    typed_count: int  # values with a type in the file: a quantizer gives none to what it adds
    depths: tuple[int, ...]
    initializer_nbytes: int = FILE_INITIALIZER_BYTES  # of each, beside its data

    @property
    def metadata_nbytes(self) -> int:
        return sum(METADATA_TEXT_BYTES + METADATA_LEVEL_BYTES * depth for depth in self.depths)

    @property
    def value_count(self) -> int:
        return self.node_count + len(self.initializers)

    def file_nbytes(self, graph: Graph) -> int:
        """Return the size of the `.onnx` file."""
        return (
            sum(graph.values[v].nbytes + self.initializer_nbytes for v in self.initializers)
            + self.node_count * FILE_NODE_BYTES
            + self.typed_count * FILE_VALUE_BYTES
            + self.metadata_nbytes
        )


def bookkeeping_nbytes(order: Sequence[Node], initializer_count: int, reordered_count: int, exported: Exported) -> int:
    """Return what the session holds beside tensors."""
    nodes = 0
    for node in order:
        nodes += NODE_KIND_BYTES.get(node.kind, NODE_BYTES) + FURTHER_OUTPUT_BYTES * (len(node.outputs) - 1)
        nodes += (BLOCKED_BYTES if node.blocked else 0) + (ACTIVATION_BYTES if node.activation else 0)
    weights = initializer_count * INITIALIZER_BYTES + reordered_count * REORDERED_BYTES
    metadata = exported.metadata_nbytes + METADATA_PAIRS_BYTES * len(exported.depths)
    removed = max(exported.node_count - len(order), 0) * REMOVED_NODE_BYTES
    return SESSION_BYTES + nodes + removed + weights + exported.value_count * VALUE_INFO_BYTES + metadata


def graph_nbytes(exported: Exported, order: Sequence[Node]) -> int:
    """Return what the graph takes beside tensors while it is optimized: every node of the file, and no kernel yet.

    What nodes take for attributes, and for a function's body, is there already.
    """
    nodes = exported.node_count * GRAPH_NODE_BYTES + exported.input_count * GRAPH_INPUT_BYTES
    nodes += sum(NODE_KIND_BYTES[node.kind] - NODE_BYTES for node in order if node.kind in WITH_ATTRIBUTES)
    metadata = exported.metadata_nbytes + METADATA_PAIRS_BYTES * len(exported.depths)
    weights = len(exported.initializers) * INITIALIZER_BYTES
    return SESSION_BYTES + nodes + weights + exported.value_count * VALUE_INFO_BYTES + metadata


class Session:
    """A session while it loads: what it takes from `heap` and frees, in the order it does.

    `heap`, an idle process's, then has the peaks; `arena` stands as the first run finds it. `folds` are the weights
    that ConstantFolding rearranges, `rescaled` the filters that took in a factor, `reordered` the blocked copies, in
    the order of the work.
    """

    def __init__(
        self,
        heap: Heap,
        graph: Graph,
        order: Sequence[Node],
        exported: Exported,
        folds: Sequence[Fold],
        rescaled: Sequence[Rescaled],
        reordered: Sequence[Reordered],
        *,
        arm: bool,
    ) -> None:
        self.heap = heap
        self.arena = Arena(self.heap)
        self.weight_nbytes = 0  # of all copies that stay
        self._values = graph.values
        self._tensors: dict[int, Block] = {}
        self._small: list[Block] = []
        used = {v for node in order for v in (*node.inputs, *node.parameters) if v != ABSENT}
        used = {v for v in used if self._values[v].constant}
        needed = used | {copy.original for copy in reordered}
        # In traces on a board most ends between a quantized CNN's filters were free when they were packed (mnasnet1_0),
        # and few of those between matrices (resmlp_12_224): both are models to build on.
        filters = {node.inputs[1] for node in order if node.kind == "QLinearConv"} if arm else set()
        self._parse(graph, order, exported, filters)
        self._rescale(rescaled, needed | {v for fold in folds for v in fold.originals})
        self._fold(folds, needed, {copy.copy for copy in reordered})
        self._reorder(reordered)
        for v in [v for v in self._tensors if v not in used]:
            self.heap.free(self._tensors.pop(v))
        self._hold(bookkeeping_nbytes(order, len(used), len(reordered), exported))
        self.weight_nbytes = sum(self._values[v].nbytes for v in self._tensors)
        self._pack(graph, order, arm=arm)

    def _hold(self, nbytes: int) -> None:
        """Hold as much as `nbytes` in small blocks.

        What goes lay among what stays, as nodes that are fused lay among others: the holes do not join.
        """
        held = sum(block.usable_nbytes for block in self._small)
        share, due = max(held - nbytes, 0) / max(held, 1), 0.0
        stay = []
        for block in self._small:
            due += share * block.usable_nbytes
            if due < block.usable_nbytes:
                stay.append(block)
                continue
            due -= block.usable_nbytes
            held -= block.usable_nbytes
            self.heap.free(block)
        self._small = stay + self.heap.hold(nbytes - held)

    def _aligned(self, nbytes: int) -> Block:
        """Return a tensor's memory, whose size is rounded to the alignment too (Tensor::CalculateTensorStorageSize)."""
        return self.heap.malloc(align(nbytes, ALIGNED_BYTES), ALIGNED_BYTES)

    def _tensor(self, v: int) -> None:
        self._tensors[v] = self._aligned(self._values[v].nbytes)

    def _parse(self, graph: Graph, order: Sequence[Node], exported: Exported, joining: set[int]) -> None:
        """The file becomes messages, the graph, and one tensor after the other, whose string is freed.

        Between those in `joining` nothing stays that would keep their holes apart.
        """
        heap = self.heap
        stream = heap.malloc(min(STREAM_BYTES, exported.file_nbytes(graph)))
        initializers = exported.initializers
        self._hold(exported.metadata_nbytes + (exported.value_count - len(initializers)) * VALUE_INFO_BYTES)
        strings = []
        for v in initializers:
            self._small += heap.hold(VALUE_INFO_BYTES)  # between two strings: what is freed does not join
            strings.append(self._string(self._values[v].nbytes))
        heap.free(stream)
        self._hold(graph_nbytes(exported, order))
        for v, string in zip(initializers, strings, strict=True):
            nbytes = self._values[v].nbytes
            if nbytes <= SMALL_INITIALIZER_BYTES:
                self._tensors[v] = heap.malloc(nbytes)
            elif v in joining:
                self._tensor(v)
            else:
                self._tensors[v] = heap.malloc_in_series(align(nbytes, ALIGNED_BYTES), ALIGNED_BYTES, COMPANION_BYTES)
            heap.free(string)

    def _string(self, nbytes: int) -> Block:
        """Return a string of protobuf: reserved at once up to a size that is safe, grown by doubling beyond."""
        if nbytes <= SAFE_STRING_BYTES:
            return self.heap.malloc(nbytes + 1)
        capacity = SAFE_STRING_BYTES
        block = self.heap.malloc(capacity)
        while capacity < nbytes:
            capacity *= 2
            grown = self.heap.malloc(capacity, written_nbytes=nbytes)
            self.heap.free(block)
            block = grown
        return block

    def _rescale(self, rescaled: Sequence[Rescaled], needed: set[int]) -> None:
        """The Initializer's own copy and the message's string, then the tensor; originals go when all are made."""
        for one in rescaled:
            nbytes = self._values[one.original].nbytes
            passing = [self._aligned(nbytes), self.heap.malloc(nbytes + 1)]
            self._tensor(one.copy)
            for block in reversed(passing):
                self.heap.free(block)
        for one in rescaled:
            if one.original in self._tensors and one.original not in needed:
                self.heap.free(self._tensors.pop(one.original))

    def _fold(self, folds: Sequence[Fold], needed: set[int], copies: set[int]) -> None:
        kept: list[Block] = []
        for fold in folds:
            kept.append(self._aligned(fold.kept_nbytes))
            self.heap.free(self._aligned(fold.transient_nbytes - fold.kept_nbytes))
        for v in [v for v in self._tensors if folds and v not in needed]:
            self.heap.free(self._tensors.pop(v))
        for block in kept:
            self.heap.free(block)
        for v in needed - copies - self._tensors.keys():  # what was folded is replaced by the results
            self._tensor(v)

    def _reorder(self, reordered: Sequence[Reordered]) -> None:
        """The Initializer's own copy, the reordered vector, the message's string, then the tensor."""
        heap = self.heap
        heap.set_caches(CACHED_BEFORE_REORDERING)
        for copy in reordered:
            before, after = self._values[copy.original].nbytes, self._values[copy.copy].nbytes
            if copy.after_removal:
                heap.set_caches({NODE_CHUNK_BYTES: CACHED_COUNT})
            own = self._aligned(before)
            heap.set_caches({NODE_CHUNK_BYTES: 0})
            passing = [own, heap.malloc(after), heap.malloc(after + 1)]
            self._tensor(copy.copy)
            for block in reversed(passing):
                heap.free(block)
            self._small += heap.hold(REORDERING_BYTES, SCALE_SPARES if copy.is_scale else REORDERED_SPARES)

    def _pack(self, graph: Graph, order: Sequence[Node], *, arm: bool) -> None:
        """PrePack goes by the nodes' indices; equal packed bytes of one kind of kernel are kept once."""
        uses: dict[int, int] = {}
        for node in order:
            for v in node.inputs:
                if v in self._tensors:
                    uses[v] = uses.get(v, 0) + 1
        packed: set[tuple[int, str]] = set()
        self.heap.fill_caches()  # with what the nodes took that were optimized away
        for node in sorted(order, key=lambda n: n.index):
            for v, nbytes, in_arena in packings(graph, node, arm=arm):
                if node.kind == "QGemm" and node.transposed_b:  # turned round in a temporary buffer first
                    self.arena.free(self.arena.allocate(self._values[v].nbytes))
                if in_arena:
                    self.arena.allocate(nbytes)
                else:
                    block = self.heap.malloc(nbytes, ALIGNED_BYTES)
                    if (v, node.kind) in packed:
                        self.heap.free(block)
                    else:
                        packed.add((v, node.kind))
                        self.weight_nbytes += nbytes
                uses[v] -= 1
                if not uses[v]:
                    self.weight_nbytes -= self._values[v].nbytes
                    self.heap.free(self._tensors.pop(v))


def packings(graph: Graph, node: Node, *, arm: bool) -> list[tuple[int, int, bool]]:
    """Return the initializers that a kernel packs at load: which, the packed size, and whether it goes into the arena.

    `OpKernel::PrePack`: most reserve memory apart from the arena; ConvTranspose and the symmetric QLinearConv do not.
    """
    values = graph.values
    weight = values[node.inputs[1]] if len(node.inputs) > 1 and node.inputs[1] != ABSENT else None
    if weight is None or not weight.constant:
        return []
    v, shape = node.inputs[1], weight.shape
    if node.kind in ("Gemm", "MatMul") and len(shape) == 2 and weight.itemsize == 4:
        columns, rows = shape if node.transposed_b else shape[::-1]
        return [(v, packed_gemm_nbytes(columns, rows), False)]
    if node.kind == "MatMulNBits":
        return [] if node.scratch else [(v, weight.nbytes, False)]
    if node.kind == "DynamicQuantizeMatMul" and len(shape) == 2:
        return [(v, packed_integer_gemm_nbytes(shape[1], shape[0]), False)]
    if node.kind in ("QGemm", "QLinearMatMul") and len(shape) == 2:
        columns, rows = shape if node.transposed_b else shape[::-1]
        return [(v, packed_integer_gemm_nbytes(columns, rows), False)]
    if node.kind == "QLinearConv":
        symmetric, nbytes = convolution_packing(graph, node, arm=arm)
        return [(v, nbytes, symmetric)]
    if node.kind == "ConvTranspose" and weight.itemsize == 4:
        return [(v, weight.nbytes, True)]
    if node.kind in ("LSTM", "GRU"):
        shapes = [(w, values[w].shape) for w in node.inputs[1:3] if w != ABSENT]
        return [(w, s[0] * packed_gemm_nbytes(s[1], s[2]), False) for w, s in shapes if len(s) == 3]
    return []
