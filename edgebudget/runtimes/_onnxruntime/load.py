"""What loading a session takes: the parsed file, initializers turned into tensors, copies in blocks, packed weights.

`InferenceSession::Load` and `Initialize`. The file comes through a stream buffer into protobuf. Each initializer is
then copied into an aligned tensor and its string freed (Graph::ConvertInitializersIntoOrtValues). NchwcTransformer
copies filter after filter and frees no original before it is done. PrePack packs a matrix and frees the original.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edgebudget.runtimes._onnxruntime.arena import Arena
from edgebudget.runtimes._onnxruntime.builder import Fold
from edgebudget.runtimes._onnxruntime.ir import ABSENT, Graph, Node
from edgebudget.runtimes._onnxruntime.kernels import packed_gemm_nbytes
from edgebudget.runtimes._onnxruntime.nchwc import Reordered
from edgebudget.runtimes._onnxruntime.quantization import convolution_packing, packed_integer_gemm_nbytes

STREAM_BYTES = 4 << 20  # DEFAULT_PROTOBUF_BLOCK_SIZE (core/graph/model.cc)
SAFE_STRING_BYTES = 50_000_000  # protobuf's kSafeStringSize: what a parser reserves at once; beyond, it doubles
ALIGNED_SLACK_BYTES = 40  # an aligned block of malloc is on average this much larger than what was asked for

# Bookkeeping, measured with onnxruntime 1.31.1 on x86-64 by an allocation counter: chains of 20 and 120 equal nodes,
# the difference by 100. The session is an empty chain's: kernel registries, schemas, thread pools.
SESSION_BYTES = 1_285_800
NODE_BYTES = 3_100  # a node, its kernel and arguments: Sigmoid 2,928, Add 3,091, Clip 3,088, MatMul 3,268, Gelu 3,322
NODE_KIND_BYTES = {  # attributes and a kernel's own state
    "Conv": 7_540, "ConvTranspose": 7_540, "MaxPool": 6_590, "AveragePool": 6_590, "Gemm": 4_890,
    "LayerNormalization": 4_770, "ReduceMean": 4_160, "Split": 2_950, "Gather": 3_690, "Softmax": 3_600, "Pad": 3_600,
    "QLinearConv": 10_290, "QGemm": 5_110, "QuantizeLinear": 3_600, "DequantizeLinear": 3_600, "QLinearAdd": 3_620,
    "QLinearMul": 3_620, "QLinearSigmoid": 3_560, "Slice": 3_580, "Concat": 3_490, "Transpose": 3_490,
    "Reshape": 3_350, "HardSigmoid": 3_640,
}  # fmt: skip
GRAPH_NODE_BYTES, GRAPH_INPUT_BYTES = 1_780, 610  # a node before kernels are made: Identity 2,390, QDQ pairs 3,410
REMOVED_NODE_BYTES = 600  # what the names of a node that was optimized away still take, beside its value
FURTHER_OUTPUT_BYTES = 1_100  # of a Split
BLOCKED_BYTES = 1_110  # a blocked convolution beside a plain one: 8,652 to 7,543
ACTIVATION_BYTES = 1_640  # the attributes of a fused activation
INITIALIZER_BYTES = 1_450  # names, maps, tensor and OrtValue: a filter 1,612, a bias 1,285
REORDERED_BYTES = 860  # what is left of the original's entry
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
FILE_VALUE_BYTES = 60


@dataclass(frozen=True, slots=True)
class Exported:
    """The file: its initializers and nodes, and for each node with metadata how deep in the module tree it stands."""

    initializers: tuple[int, ...]
    node_count: int
    input_count: int  # of all nodes
    typed_count: int  # values with a type in the file: a quantizer gives none to what it adds
    depths: tuple[int, ...]

    @property
    def metadata_nbytes(self) -> int:
        return sum(METADATA_TEXT_BYTES + METADATA_LEVEL_BYTES * depth for depth in self.depths)

    @property
    def value_count(self) -> int:
        return self.node_count + len(self.initializers)

    def file_nbytes(self, graph: Graph) -> int:
        """Return the size of the `.onnx` file."""
        return (
            sum(graph.values[v].nbytes + FILE_INITIALIZER_BYTES for v in self.initializers)
            + self.node_count * FILE_NODE_BYTES
            + self.typed_count * FILE_VALUE_BYTES
            + self.metadata_nbytes
        )


@dataclass(frozen=True, slots=True)
class Loading:
    """Heap bytes at the peak while loading and when the session is ready; of the latter, packed and blocked copies."""

    peak_nbytes: int
    nbytes: int
    copied_nbytes: int
    weight_nbytes: int
    arena: Arena  # with the packed filters that kernels allocate there


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


def graph_nbytes(exported: Exported) -> int:
    """Return what the graph takes beside tensors while it is optimized: every node of the file, and no kernel yet."""
    nodes = exported.node_count * GRAPH_NODE_BYTES + exported.input_count * GRAPH_INPUT_BYTES
    metadata = exported.metadata_nbytes + METADATA_PAIRS_BYTES * len(exported.depths)
    weights = len(exported.initializers) * INITIALIZER_BYTES
    return SESSION_BYTES + nodes + weights + exported.value_count * VALUE_INFO_BYTES + metadata


def string_nbytes(nbytes: int) -> int:
    """Return what a string of protobuf holds for `nbytes` of raw data."""
    if nbytes <= SAFE_STRING_BYTES:
        return nbytes + 1
    capacity = SAFE_STRING_BYTES
    while capacity < nbytes:
        capacity *= 2
    return capacity


def load(
    graph: Graph,
    order: Sequence[Node],
    exported: Exported,
    folds: Sequence[Fold],
    reordered: Sequence[Reordered],
    *,
    arm: bool,
) -> Loading:
    """Return the heap over a load.

    `folds` are the weights that ConstantFolding rearranges, `reordered` the blocked copies, in the order of the work.
    """
    values = graph.values
    parsed = 0
    peak = 0
    for v in exported.initializers:
        capacity = string_nbytes(values[v].nbytes)
        if capacity > SAFE_STRING_BYTES + 1:
            peak = max(peak, parsed + capacity + capacity // 2)  # grown: the old half is still there
        parsed += capacity
    protos = exported.metadata_nbytes + exported.value_count * VALUE_INFO_BYTES
    peak = max(peak, parsed) + min(STREAM_BYTES, exported.file_nbytes(graph)) + protos

    held = {v: values[v].nbytes for v in exported.initializers}
    used = {v for node in order for v in (*node.inputs, *node.parameters) if v != ABSENT and values[v].constant}
    overhead = bookkeeping_nbytes(order, len(used), len(reordered), exported)
    total = parsed
    peak = max(peak, graph_nbytes(exported) + sum(held.values()))
    for v in exported.initializers:
        peak = max(peak, overhead + total + held[v])
        total += held[v] - string_nbytes(held[v])
    kept = 0
    for fold in folds:
        peak = max(peak, overhead + total + kept + fold.transient_nbytes)
        kept += fold.kept_nbytes
    if folds:  # what was folded is replaced by the results
        copies = {copy.copy for copy in reordered}
        originals = {copy.original for copy in reordered}
        total = sum(values[v].nbytes for v in (used | originals) - copies)
    for copy in reordered:
        before, after = values[copy.original].nbytes, values[copy.copy].nbytes
        # the Initializer's own copy, the reordered vector, the proto's string, then the tensor
        peak = max(peak, overhead + total + before + 3 * after)
        total += after
        held[copy.copy] = after
    held = {v: values[v].nbytes for v in used}
    total = sum(held.values()) + len(held) * ALIGNED_SLACK_BYTES
    uses: dict[int, int] = {}
    for node in order:
        for v in node.inputs:
            if v in held:
                uses[v] = uses.get(v, 0) + 1
    copied = sum(held.get(copy.copy, 0) for copy in reordered)
    packed: set[tuple[int, str]] = set()
    arena = Arena()
    for node in sorted(order, key=lambda n: n.index):  # PrePack goes by the nodes' indices
        for v, nbytes, in_arena in packings(graph, node, arm=arm):
            if node.kind == "QGemm" and node.transposed_b:  # turned round in a temporary buffer first
                arena.free(arena.allocate(values[v].nbytes))
            if in_arena:
                arena.allocate(nbytes)
                copied += nbytes
            else:
                peak = max(peak, overhead + total + arena.nbytes + nbytes)
                if (v, node.kind) not in packed:  # equal packed bytes of one kind of kernel are kept once
                    packed.add((v, node.kind))
                    copied += nbytes
                    total += nbytes
            peak = max(peak, overhead + total + arena.nbytes)
            uses[v] -= 1
            if not uses[v]:
                total -= held[v]
    return Loading(max(peak, overhead + total + arena.nbytes), overhead + total, copied, total, arena)


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
