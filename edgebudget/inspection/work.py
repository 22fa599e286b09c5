"""Multiply-adds of operators: dense, naive definitions of the operators that multiply and add.

The convention is that of `torch.utils.flop_counter`: convolutions, matrix products, attention and recurrent layers
count, at two FLOPs a multiply-add; biases, activations, normalizations and pooling do not. fvcore and torchinfo call
a multiply-add one operation.
"""

from collections.abc import Callable, Mapping
from math import prod

from edgebudget.graph import Op, Ref, TracedGraph

FLOPS_A_MULTIPLY_ADD = 2
CONVENTION = (
    "Multiply-adds of convolutions, matrix products, attention and recurrent layers; FLOPs are twice as many. Biases, "
    "activations, normalizations and pooling are not counted."
)

Shape = tuple[int, ...]


def multiply_adds(graph: TracedGraph) -> tuple[int, ...]:
    """Return the multiply-adds of each operator of `graph`, 0 for those that have none by the convention."""
    return tuple(_COUNTS[op.name](graph, op) if op.name in _COUNTS else 0 for op in graph.ops)


def not_counted(graph: TracedGraph) -> tuple[str, ...]:
    """Return the operators that work with a weight matrix, or transform, in a way no formula here covers."""
    names = {op.name for op in graph.ops if op.name not in _COUNTS and op.name not in _FREE and _is_work(graph, op)}
    return tuple(sorted(names))


_FREE = frozenset(
    """embedding embedding_bag view reshape transpose t permute select slice split chunk expand contiguous unsqueeze
    squeeze flatten unflatten add add_ sub mul mul_ div cat stack index gather copy_ clone detach to layer_norm
    batch_norm group_norm instance_norm rms_norm prelu roll repeat index_select mean sum alias unbind expand_as
    type_as zeros_like softmax log_softmax norm pow linalg_vector_norm where masked_fill fill_ _weight_norm abs sqrt
    """.split()
)
"""What reads a weight of two dimensions or more without multiplying matrices."""


def _is_work(graph: TracedGraph, op: Op) -> bool:
    if "fft" in op.name:
        return True
    return any(graph.storage_of(t).role.is_weight and len(graph.tensors[t].shape) > 1 for t in op.inputs)


def _shape(graph: TracedGraph, value: object) -> Shape:
    return graph.tensors[value].shape if isinstance(value, Ref) else ()


def _out(graph: TracedGraph, op: Op) -> int:
    return graph.tensors[op.outputs[0]].numel if op.outputs else 0


def _convolution(graph: TracedGraph, op: Op) -> int:
    return _out(graph, op) * prod(_shape(graph, op.arg(1, "weight"))[1:])


def _transposed(graph: TracedGraph, op: Op) -> int:
    weight = _shape(graph, op.arg(1, "weight"))
    return graph.tensors[op.inputs[0]].numel * prod(weight[1:])


def _product(position: int) -> Callable[[TracedGraph, Op], int]:
    """Return the count of an operator whose left factor stands at `position`: every element of the result is a dot
    product over the last dimension of it."""

    def count(graph: TracedGraph, op: Op) -> int:
        left = _shape(graph, op.args[position]) if position < len(op.args) else ()
        return _out(graph, op) * (left[-1] if left else 0)

    return count


def _attention(graph: TracedGraph, op: Op) -> int:
    query, key, value = (graph.tensors[t].shape for t in op.inputs[:3])
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _einsum(graph: TracedGraph, op: Op) -> int:
    """Return the size of the index space of a product of two tensors; what has more factors is folded pair by pair."""
    equation, operands = op.args[0], op.inputs
    if not isinstance(equation, str) or "." in equation:
        return 0
    terms = equation.replace(" ", "").split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, tensor in zip(terms, operands, strict=False):
        sizes |= dict(zip(term, graph.tensors[tensor].shape, strict=False))
    return prod(sizes.values()) * max(len(terms) - 1, 0)


def _recurrent(graph: TracedGraph, op: Op) -> int:
    """Return every weight matrix once for each element of the sequence; projections act on what leaves the cell."""
    shape = graph.tensors[op.inputs[0]].shape
    matrices = [graph.tensors[t].numel for t in op.inputs if _is_matrix(graph, t)]
    return prod(shape[:-1]) * sum(matrices)


def _is_matrix(graph: TracedGraph, tensor: int) -> bool:
    return graph.storage_of(tensor).role.is_weight and len(graph.tensors[tensor].shape) == 2


_COUNTS: Mapping[str, Callable[[TracedGraph, Op], int]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution", "_convolution", "deform_conv2d"), _convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _transposed),
    **dict.fromkeys(("linear", "mm", "bmm", "matmul", "mv", "dot", "vdot"), _product(0)),
    **dict.fromkeys(("addmm", "addmm_", "baddbmm", "addmv"), _product(1)),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
    **dict.fromkeys(("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), _recurrent),
    "scaled_dot_product_attention": _attention,
    "einsum": _einsum,
}
