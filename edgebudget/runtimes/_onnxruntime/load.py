"""What loading a session takes: the parsed file, initializers turned into tensors, copies in blocks, packed weights.

`InferenceSession::Load` and `Initialize`: the file comes through a stream buffer into protobuf; each initializer of
more than 127 bytes is then copied into an aligned tensor and its proto freed; NchwcTransformer copies filter after
filter and frees no original before it is done; PrePack packs a matrix and frees the original.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edgebudget.runtimes._onnxruntime.ir import ABSENT, Graph, Node
from edgebudget.runtimes._onnxruntime.kernels import packed_gemm_nbytes
from edgebudget.runtimes._onnxruntime.nchwc import Reordered

STREAM_BYTES = 4 << 20  # the block size of the FileInputStream that the model is parsed from (core/graph/model.cc)
TENSOR_PAD_BYTES = 40  # an aligned block: 64 - 24 bytes of malloc's header and slack, on average


@dataclass(frozen=True, slots=True)
class Loading:
    """Heap bytes of weights: at the peak while loading, and when the session is ready."""

    peak_nbytes: int
    nbytes: int
    packed_nbytes: int


def load(graph: Graph, order: Sequence[Node], originals: Sequence[int], reordered: Sequence[Reordered]) -> Loading:
    """Return the weights' bytes over a load: `originals` are the file's initializers, `reordered` the blocked copies."""
    values = graph.values
    held = {v: values[v].nbytes for v in originals}
    total = sum(held.values())
    peak = total + max(STREAM_BYTES, max(held.values(), default=0))
    if reordered:
        for copy in reordered:
            before, after = values[copy.original].nbytes, values[copy.copy].nbytes
            # the Initializer's own copy, the reordered vector, the proto's string, then the tensor
            peak = max(peak, total + before + 3 * after)
            total += after
            held[copy.copy] = after
    used = {v for node in order for v in node.inputs if v != ABSENT}
    held = {v: nbytes for v, nbytes in held.items() if v in used}
    total = sum(held.values())
    uses: dict[int, int] = {}
    for node in order:
        for v in node.inputs:
            if v in held:
                uses[v] = uses.get(v, 0) + 1
    packed_nbytes = 0
    for node in order:
        for v, nbytes in packings(graph, node):
            packed_nbytes += nbytes
            total += nbytes
            peak = max(peak, total)
            uses[v] -= 1
            if not uses[v]:
                total -= held[v]
    return Loading(peak, total, packed_nbytes)


def packings(graph: Graph, node: Node) -> list[tuple[int, int]]:
    """Return the initializers that a kernel packs at load, with the packed size (`OpKernel::PrePack`)."""
    values = graph.values
    if node.kind in ("Gemm", "MatMul") and len(node.inputs) > 1:
        weight = values[node.inputs[1]]
        if weight.constant and len(weight.shape) == 2 and weight.itemsize == 4:
            columns, rows = weight.shape if node.transposed_b else weight.shape[::-1]
            return [(node.inputs[1], packed_gemm_nbytes(columns, rows))]
    if node.kind in ("LSTM", "GRU"):
        return [
            (v, packed_gemm_nbytes(values[v].shape[0], values[v].shape[1]))
            for v in node.inputs[1:3]
            if v != ABSENT and values[v].constant and len(values[v].shape) == 2
        ]
    return []
