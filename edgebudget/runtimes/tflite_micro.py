"""TensorFlow Lite Micro: one arena for activations, constants read where they are, kernels without scratch."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from edgebudget.dtypes import DtypeOption, assign, once_per_option
from edgebudget.graph import FLOATING, ITEMSIZE, TensorSpec, TracedGraph, once_per_graph
from edgebudget.planning import ArenaPlan, Buffer, align, greedy_by_size, live_bytes
from edgebudget.runtimes._functional import Functional, Node, functionalize
from edgebudget.runtimes.interface import LiveTensor, MemoryLayout, OnDemand, PeakOp, Unsupported
from edgebudget.target import Target

ALIGNMENT = 16  # MicroArenaBufferAlignment, micro_arena_constants.h

BIAS_NBYTES = 4  # float32, or int32 in an int8 model

ALIASES = frozenset(
    {
        "view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "contiguous", "clone", "detach", "to",
        "dropout", "_unsafe_view", "alias", "lift_fresh",
    }
)  # fmt: skip
"""Shape changes over the same bytes: a converter drops them, or the kernel copies nothing."""

FUSED = frozenset({"relu", "relu6", "hardtanh", "clamp"})
"""Activations that TFLite keeps as an attribute of the operator before them (ActivationFunctionType)."""

HOSTS = frozenset(
    {"conv1d", "conv2d", "linear", "add", "mul", "sub", "max_pool2d", "avg_pool2d", "addmm", "batch_norm"}
)
"""Operators that carry such an attribute. A batch norm here is one that could not be folded: a multiplication."""

KERNELS = HOSTS | FUSED | frozenset(
    {
        "conv_transpose2d", "adaptive_avg_pool2d", "mean", "cat", "pad", "constant_pad_nd", "softmax", "sigmoid",
        "tanh",
        "hardswish", "leaky_relu", "prelu", "elu", "exp", "sqrt", "rsqrt", "square", "abs", "neg", "log", "sin", "cos",
        "div", "maximum", "minimum", "sum", "amax", "transpose", "permute", "slice", "select", "split", "chunk",
        "unbind", "stack", "bmm", "matmul", "upsample_bilinear2d", "upsample_nearest2d", "pixel_shuffle", "embedding",
        "log_softmax", "argmax", "gather", "where", "expand", "view_scatter", "max_pool1d", "avg_pool1d",
    }
)  # fmt: skip
"""What tensorflow/lite/micro/kernels has a kernel for, by the ATen operator that becomes it."""


@dataclass(frozen=True, slots=True)
class _TFLiteMicro:
    name: str = "tflite-micro"
    description: str = (
        "TensorFlow Lite Micro with its reference kernels: batch norms folded, activations fused, one greedily planned "
        "arena, persistent data beside it, constants read in place from flash."
    )

    def lay_out(self, graph: TracedGraph, option: DtypeOption, target: Target) -> MemoryLayout | Unsupported:
        """Return the arena for `graph`, fully quantized where `option` is int8: inputs and outputs too."""
        if option.name not in ("float32", "int8"):
            return Unsupported(
                "TensorFlow Lite Micro has kernels for models that are int8 or float32 throughout, and none that "
                f"computes as {option.name} does."
            )
        return _layout(_plan(graph, option), target)


@dataclass(frozen=True, slots=True)
class _Fused:
    """Operators as a converter leaves them, and each value with its first and last step, counted from 1.

    `labels` are what people read for each step, the caller's first. `tensors` counts values and weights;
    `multiplier_nbytes` are those of the channels of convolutions and linear layers.
    """

    steps: tuple[Node, ...]
    lifetimes: tuple[tuple[TensorSpec, int, int], ...]
    made_bias_nbytes: int  # of convolutions that had none before a batch norm was folded into them
    constants: frozenset[int]  # storages of weights that steps read; a folded batch norm's are in its convolution's
    labels: tuple[str, ...]
    tensors: int
    multiplier_nbytes: int


@dataclass(frozen=True, slots=True)
class _Planned:
    """A graph under an option: its arena, `curve` of live bytes by step, and weights. No target changes any of it."""

    fused: _Fused
    plan: ArenaPlan
    curve: tuple[int, ...]
    peak_numel: int
    total_bytes: int
    weights_bytes: int


@once_per_option
def _plan(graph: TracedGraph, option: DtypeOption) -> _Planned:
    fused = _fuse(graph)
    floating_nbytes = 1 if option.name == "int8" else ITEMSIZE["float32"]
    buffers = [
        Buffer(value.id, align(_nbytes(value, floating_nbytes), ALIGNMENT), first, last)
        for value, first, last in fused.lifetimes
    ]
    # Requirements are kept in reverse and sorted stably (greedy_memory_planner.cc): the last of equals goes first.
    plan = greedy_by_size(buffers[::-1], ALIGNMENT)
    curve = live_bytes(buffers, max(len(fused.steps), 1) + 1)  # step 0 is the caller's, who fills the inputs
    at = curve.index(max(curve))
    nbytes = assign(option, graph).total_nbytes
    return _Planned(
        fused=fused,
        plan=plan,
        curve=tuple(curve),
        peak_numel=sum([v.numel for v, first, last in fused.lifetimes if first <= at <= last]),
        total_bytes=sum([b.nbytes for b in buffers]),
        weights_bytes=sum([nbytes[s] for s in fused.constants]) + fused.made_bias_nbytes,
    )


def _layout(planned: _Planned, target: Target) -> MemoryLayout:
    fused, plan, curve = planned.fused, planned.plan, planned.curve
    at = curve.index(max(curve))
    node = fused.steps[at - 1] if at and fused.steps else None
    persistent_bytes = _persistent_bytes(fused, target.pointer_bytes)
    heap_bytes = plan.nbytes + persistent_bytes + (0 if target.weights_in == "flash" else planned.weights_bytes)
    return MemoryLayout(
        activation_lower_bound_bytes=max(curve),
        activation_bytes=plan.nbytes,
        activation_total_bytes=planned.total_bytes,
        activation_peak_numel=planned.peak_numel,
        workspace_bytes=persistent_bytes,
        load_heap_bytes=heap_bytes,
        inference_heap_bytes=heap_bytes,
        load_mapped_bytes=0,
        inference_mapped_bytes=0,
        storage_bytes=planned.weights_bytes,
        runtime_bytes=0,
        peak_op=PeakOp(at - 1, node.op.target, node.op.module) if node else PeakOp(0, "inputs", ""),
        timeline=OnDemand(partial(zip, fused.labels, curve)),
        tensors=OnDemand(partial(_tensors, planned)),
        arena=plan,
        unmodelled_ops=tuple(sorted({s.name for s in fused.steps if s.name not in KERNELS})),
        notes=(
            "Reference kernels take no scratch; CMSIS-NN and vendor kernels take some.",
            "The flatbuffer's structure, the kernels' code, the interpreter's own objects and the stack are not "
            "counted.",
        ),
    )


def _tensors(planned: _Planned) -> Iterator[LiveTensor]:
    labels, plan = planned.fused.labels, planned.plan
    for buffer, offset in zip(plan.buffers, plan.offsets, strict=True):
        label = labels[min(buffer.first, len(labels) - 1)]
        yield LiveTensor(label, buffer.nbytes, buffer.first, buffer.last, offset)


@once_per_graph
def _fuse(graph: TracedGraph) -> _Fused:
    functional = functionalize(graph)
    readers: dict[int, int] = {}
    for node in functional.nodes:
        for t in node.inputs:
            readers[t] = readers.get(t, 0) + 1
    made_by: dict[int, Node] = {}
    alias: dict[int, int] = {}  # a value that takes no memory of its own -> the one that holds it
    steps: list[Node] = []
    made_bias_numel = 0
    for node in functional.nodes:
        source = alias.get(node.inputs[0], node.inputs[0]) if node.inputs else -1
        host = made_by.get(source)
        only_reader = bool(node.inputs) and readers.get(node.inputs[0]) == 1
        if len(node.outputs) == 1 and node.inputs:
            folds = node.name == "batch_norm" and host is not None and host.name in ("conv1d", "conv2d", "linear")
            fuses = node.name in FUSED and host is not None and host.name in HOSTS
            if folds and only_reader and host is not None and host.arg(2, "bias") is None:
                made_bias_numel += functional.values[node.inputs[1]].numel
            if node.name in ALIASES or (only_reader and (folds or fuses)):
                alias[node.outputs[0]] = source
                continue
        steps.append(node)
        made_by.update((t, node) for t in node.outputs)
    lifetimes = tuple(_lifetimes(functional, graph.inputs, steps, alias))
    values, storages = functional.values, graph.storages
    read = [[t for t in step.inputs if storages[values[t].storage].role.is_weight] for step in steps]
    channels = [
        values[step.inputs[1]].shape[0]
        for step, weights in zip(steps, read, strict=True)
        if weights and step.name in ("conv1d", "conv2d", "linear", "conv_transpose2d")
    ]
    sources = [graph.storage_of(t) for step in steps for t in step.op.inputs]
    return _Fused(
        steps=tuple(steps),
        lifetimes=lifetimes,
        made_bias_nbytes=BIAS_NBYTES * made_bias_numel,
        constants=frozenset([storage.id for storage in sources if storage.role.is_weight]),
        labels=("inputs", *[graph.labels[step.op.index] for step in steps]),
        tensors=len(lifetimes) + sum([len(weights) for weights in read]),
        multiplier_nbytes=sum([2 * align(4 * count, ALIGNMENT) for count in channels]),
    )


def _lifetimes(
    functional: Functional, inputs: tuple[int, ...], steps: list[Node], alias: dict[int, int]
) -> Iterator[tuple[TensorSpec, int, int]]:
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for index, node in enumerate(steps, start=1):
        for t in node.outputs:
            first[t] = last[t] = index
        for t in node.inputs:
            last[alias.get(t, t)] = index
    end = len(steps)
    for t in functional.outputs:
        last[alias.get(t, t)] = end
    for t in inputs:
        first[t] = 0
        last.setdefault(t, 0)
    for t in sorted(first, key=lambda t: (first[t], t)):
        yield functional.values[t], first[t], last[t]


def _nbytes(value: TensorSpec, floating_nbytes: int) -> int:
    return value.numel * (floating_nbytes if value.dtype in FLOATING else ITEMSIZE[value.dtype])


def _persistent_bytes(fused: _Fused, word: int) -> int:
    """Return what stands at the arena's tail for as long as the interpreter lives.

    A `TfLiteEvalTensor` a tensor (data, dims, type: three words), a `NodeAndRegistration` an operator (a `TfLiteNode`
    of seven words and a pointer), and for each output channel of a convolution or a quantized linear layer a multiplier
    and a shift of 32 bits (`per_channel_output_multiplier`, kernels/conv_common.cc); operator structs of 56 bytes
    (`OpDataConv`, kernels/conv.h) and parameters of 28 (`TfLiteConvParams`).
    """
    nodes_nbytes = len(fused.steps) * (align(8 * word, ALIGNMENT) + align(56, ALIGNMENT) + align(28, ALIGNMENT))
    return nodes_nbytes + fused.multiplier_nbytes + align(fused.tensors * 3 * word, ALIGNMENT)


RUNTIME = _TFLiteMicro()
