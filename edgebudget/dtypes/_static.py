"""Static int8: which tensors of a graph are held as int8 when weights and activations are quantized ahead of time.

Which operators a quantizer takes is the quantizer's own; the default follows PyTorch 2 export quantization with
ExecuTorch's XNNPACKQuantizer (backends/xnnpack/quantizer/xnnpack_quantizer.py, `STATIC_OPS` and the shared-observer
operators of xnnpack_quantizer_utils.py).
"""

from collections.abc import Container
from dataclasses import dataclass
from typing import NamedTuple

from edgebudget.dtypes._floating import hold_all
from edgebudget.dtypes.interface import Assignment
from edgebudget.graph import FLOATING, ITEMSIZE, WEIGHT_ROLES, Op, Storage, TracedGraph

WEIGHTED = frozenset(
    {"conv1d", "conv2d", "conv3d", "linear", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}
)
"""Operators with a weight at position 1 and a bias at position 2, quantized by output channel."""

COMPUTING = WEIGHTED | {"add", "add_", "mul", "mul_", "cat", "adaptive_avg_pool2d", "mean"}
"""Operators that compute in int8 whatever feeds them."""

FOLLOWING = frozenset(
    {
        "relu", "relu_", "hardtanh", "hardtanh_", "relu6", "relu6_", "clamp", "clamp_", "max_pool2d", "avg_pool2d",
        "permute", "transpose", "reshape", "view", "flatten", "unflatten", "squeeze", "unsqueeze", "slice", "select",
        "split", "chunk", "split_with_sizes", "expand", "contiguous", "clone", "upsample_nearest2d", "pixel_shuffle",
        "constant_pad_nd", "pad", "t", "unbind", "channel_shuffle", "detach",
    }
)  # fmt: skip
"""Operators whose output has the type of their inputs."""

SCALE_NBYTES = 4  # one float32 a channel
ZERO_POINT_NBYTES = 1  # one int8 a channel


@dataclass(frozen=True, slots=True)
class Coverage:
    """The operators a quantizer takes: those that compute in int8, and those that pass int8 on."""

    computing: frozenset[str] = COMPUTING
    following: frozenset[str] = FOLLOWING


def assign_static(
    option: str, graph: TracedGraph, coverage: Coverage, operators: Container[int] | None = None
) -> Assignment:
    """Return `graph` with weights of covered operators in int8 by output channel (a float32 scale and an int8 zero
    point each), their biases in int32, and activations in int8 where a covered operator makes them.

    A batch norm behind a covered convolution is folded into it and covered with it; its own tensors stay float32, as do
    inputs and outputs of the model. A weight that an uncovered operator reads too is held twice. Only `operators` are
    covered, by default all of them.
    """
    reach = _propagate(graph, coverage, range(len(graph.ops)) if operators is None else operators)
    dtypes, nbytes = hold_all(graph, "float32")
    quantization = _hold_weights(graph, reach, dtypes, nbytes)
    outputs = set(graph.outputs)
    wide = {  # storages that some tensor needs as float32
        tensor[4]
        for tensor, narrow in zip(graph.tensors, reach.quantized, strict=True)
        if (not narrow or tensor[0] in outputs) and tensor[3] in FLOATING
    }
    for storage, size, dtype, *_ in graph.activations:
        if storage not in wide and dtype in FLOATING:
            dtypes[storage], nbytes[storage] = "int8", size // ITEMSIZE[dtype]
    return Assignment(option, tuple(dtypes), tuple(nbytes), reach.covered, quantization)


class _Reach(NamedTuple):
    """How far quantization goes: which operators it covers, those of them with weights, all but those, and whether each
    tensor is quantized."""

    covered: frozenset[int]
    weighted: list[tuple[Op, str]]
    others: list[Op]
    quantized: list[bool]


def _propagate(graph: TracedGraph, coverage: Coverage, operators: Container[int]) -> _Reach:
    covered: list[int] = []
    weighted: list[tuple[Op, str]] = []
    others: list[Op] = []
    quantized = [False] * len(graph.tensors)
    tensors, storages = graph.tensors, graph.storages
    computing, following = coverage.computing, coverage.following
    weighted_outputs: set[int] = set()
    for op, name in zip(graph.ops, graph.op_names, strict=True):
        index, _, _, _, _, inputs, outputs = op
        takes = name in computing
        if not takes and inputs:
            if name in following:
                takes = True
                for t in inputs:
                    if (
                        not quantized[t]
                        and tensors[t][3] in FLOATING
                        and storages[tensors[t][4]][3] not in WEIGHT_ROLES
                    ):
                        takes = False
            elif name == "batch_norm":
                takes = inputs[0] in weighted_outputs
        if takes and index in operators:
            covered.append(index)
            for t in outputs:
                quantized[t] = tensors[t][3] in FLOATING
            if name in WEIGHTED:
                weighted_outputs.update(outputs)
                weighted.append((op, name))
                continue
        others.append(op)
    return _Reach(frozenset(covered), weighted, others, quantized)


def _hold_weights(graph: TracedGraph, reach: _Reach, dtypes: list[str], nbytes: list[int]) -> dict[int, int]:
    """Put the weights of covered operators into `dtypes` and `nbytes`; return the bytes of their scales."""
    tensors = graph.tensors
    channels: dict[int, int] = {}
    biases: set[int] = set()
    storages = graph.storages
    for op, name in reach.weighted:
        _, weight, *bias = op[5]
        _, shape, _, _, storage, _ = tensors[weight]
        if _is_weight(storages[storage]):
            channels[storage] = max(channels.get(storage, 0), _output_channels(op, name, shape))
        for t in bias[:1]:
            if _is_weight(storages[tensors[t][4]]):
                biases.add(tensors[t][4])
    integers = channels.keys() | biases
    elsewhere: set[int] = set()
    if not integers.isdisjoint([tensors[t][4] for op in reach.others for t in op[5]]):
        for op in reach.others:
            read = integers.intersection([tensors[t][4] for t in op[5]])
            if read and not _only_views(graph, op):
                elsewhere |= read
    for storage in integers:
        dtype = "int8" if storage in channels else "int32"
        integer_nbytes = storages[storage].numel * ITEMSIZE[dtype]
        if storage in elsewhere:
            nbytes[storage] += integer_nbytes
        else:
            dtypes[storage], nbytes[storage] = dtype, integer_nbytes
    return {storage: number * (SCALE_NBYTES + ZERO_POINT_NBYTES) for storage, number in channels.items()}


def _is_weight(storage: Storage) -> bool:
    return storage[3] in WEIGHT_ROLES and storage[2] in FLOATING


def _output_channels(op: Op, name: str, shape: tuple[int, ...]) -> int:
    if not name.startswith("conv_transpose"):
        return shape[0]
    groups = op.arg(6, "groups", 1)
    return shape[1] * (groups if isinstance(groups, int) else 1)


def _only_views(graph: TracedGraph, op: Op) -> bool:
    own = {graph.tensors[t].storage for t in op.inputs}
    return all(graph.tensors[t].storage in own for t in op.outputs) and not op.name.endswith("_")
