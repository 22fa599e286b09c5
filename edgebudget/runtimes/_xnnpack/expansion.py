"""Operators that no rule is written for: nodes of what PyTorch's own decompositions make of them."""

from collections.abc import Sequence

from edgebudget.errors import TraceError
from edgebudget.graph import Op, Role, Storage, TensorSpec, TracedGraph
from edgebudget.runtimes._core_aten import to_core_aten
from edgebudget.runtimes._functional import Node, renumbered
from edgebudget.runtimes._xnnpack.edge import Lowering


def expand(low: Lowering, node: Node, values: Sequence[TensorSpec]) -> list[Node] | None:
    """Return `node` as nodes of core ATen, whose new values `low` knows; None where it cannot be decomposed.

    `values` are those of the functional graph. What core ATen has no smaller form of comes back as it is.
    """
    alone, own = _alone(node, values)
    try:
        core = to_core_aten(alone, "float32")
    except TraceError:
        return None
    numbers = dict(zip((*core.inputs, *core.outputs), own, strict=True))
    for tensor in core.tensors:
        if tensor.id not in numbers:
            constant = core.storage_of(tensor.id).role is Role.CONSTANT
            numbers[tensor.id] = low.new(tensor.shape, tensor.dtype, constant)
    nodes = []
    for op in core.ops:
        if not op.outputs:
            continue  # the copy of what was written back into an input
        args = tuple([renumbered(arg, numbers) for arg in op.args])
        kwargs = tuple([(name, renumbered(arg, numbers)) for name, arg in op.kwargs])
        inputs, outputs = tuple([numbers[t] for t in op.inputs]), tuple([numbers[t] for t in op.outputs])
        if op.name == "view":
            low.share_storage(outputs[0], inputs[0])
        nodes.append(
            Node(op.name, op._replace(index=node.op.index, module=node.op.module), args, kwargs, inputs, outputs)
        )
    return nodes


def _alone(node: Node, values: Sequence[TensorSpec]) -> tuple[TracedGraph, tuple[int, ...]]:
    """Return a graph of nothing but `node`, and the values that its inputs and outputs are."""
    inputs = tuple(dict.fromkeys(node.inputs))
    own = (*inputs, *node.outputs)
    place = {value: i for i, value in enumerate(own)}
    in_place = node.name != node.op.name
    storages: list[Storage] = []
    tensors: list[TensorSpec] = []
    for i, value in enumerate(own):
        spec = values[value]
        is_input = i < len(inputs)
        if in_place and not is_input:
            storage = place[node.inputs[0]]
        else:
            storage = len(storages)
            nbytes = max(spec.nbytes, 1)
            role = Role.INPUT if is_input else Role.ACTIVATION
            storages.append(Storage(storage, nbytes, spec.dtype, role, "", -1 if is_input else 0, 1))
        tensors.append(TensorSpec(i, spec.shape, spec.stride, spec.dtype, storage))
    op = Op(
        0,
        node.op.target,
        node.op.module,
        tuple([renumbered(arg, place) for arg in node.args]),
        tuple([(name, renumbered(arg, place)) for name, arg in node.kwargs]),
        tuple([place[value] for value in node.inputs]),
        tuple([place[value] for value in node.outputs]),
    )
    graph = TracedGraph(
        name=node.op.target,
        storages=tuple(storages),
        tensors=tuple(tensors),
        ops=(op,),
        inputs=tuple(range(len(inputs))),
        outputs=tuple(range(len(inputs), len(own))),
    )
    return graph, own
