"""Recurrent cells and layers: what their decomposition or ONNX's own operators make of them."""

from collections.abc import Sequence

from edgebudget.graph import ITEMSIZE, Op
from edgebudget.runtimes._onnxruntime.builder import Builder, Fold
from edgebudget.runtimes._onnxruntime.ir import ABSENT
from edgebudget.runtimes._onnxruntime.kernels import recurrent_scratch


def lstm_cell(low: Builder, op: Op, inputs: Sequence[int]) -> None:
    """One step of an LSTM as its decomposition has it; every step's Gemm reads the same weights."""
    source, hidden, cell, *weights = inputs
    rows, width = low.traced.tensors[op.outputs[0]].shape
    gates = _gates(low, op, source, hidden, weights, (rows, 4 * width), 4)
    step = (rows, width)
    enter, forget, output = (low.step(op, "Sigmoid", [gates[i]], step) for i in (0, 1, 3))
    update = low.step(op, "Tanh", [gates[2]], step)
    kept = low.step(op, "Mul", [forget, cell], step)
    added = low.step(op, "Mul", [enter, update], step)
    low.value_of[op.outputs[1]] = low.step(op, "Add", [kept, added], step)
    bounded = low.step(op, "Tanh", [low.value_of[op.outputs[1]]], step)
    low.value_of[op.outputs[0]] = low.step(op, "Mul", [output, bounded], step)


def gru_cell(low: Builder, op: Op, inputs: Sequence[int]) -> None:
    """One step of a GRU as its decomposition has it."""
    source, hidden, *weights = inputs
    rows, width = low.traced.tensors[op.outputs[0]].shape
    step = (rows, width)
    ours = _chunks(low, op, _product(low, op, source, weights[0::2], (rows, 3 * width)), 3)
    theirs = _chunks(low, op, _product(low, op, hidden, weights[1::2], (rows, 3 * width)), 3)
    reset, update = (low.step(op, "Sigmoid", [low.step(op, "Add", [ours[i], theirs[i]], step)], step) for i in (0, 1))
    scaled = low.step(op, "Mul", [theirs[2], reset], step)
    new = low.step(op, "Tanh", [low.step(op, "Add", [ours[2], scaled], step)], step)
    difference = low.step(op, "Sub", [hidden, new], step)
    low.emit(op, "Add", [low.step(op, "Mul", [difference, update], step), new])


def _gates(
    low: Builder, op: Op, source: int, hidden: int, weights: Sequence[int], shape: tuple[int, int], count: int
) -> list[int]:
    ours = _product(low, op, source, weights[0::2], shape)
    theirs = _product(low, op, hidden, weights[1::2], shape)
    return _chunks(low, op, low.step(op, "Add", [theirs, ours], shape), count)


def _product(low: Builder, op: Op, source: int, weights: Sequence[int], shape: tuple[int, int]) -> int:
    if low.graph.values[source].constant:  # the first step's state: folded
        return low.constant(shape, 4)
    out = low.step(op, "Gemm", [source, *weights], shape)
    low.graph.nodes[low.graph.made - 1].transposed_b = True
    return out


def _chunks(low: Builder, op: Op, value: int, count: int) -> list[int]:
    rows, width = low.shape(value)
    parts = [low.graph.value((rows, width // count), 4) for _ in range(count)]
    low.graph.add("Split", [value], parts, op.index)
    return parts


def recurrent(low: Builder, op: Op, inputs: Sequence[int], kind: str) -> None:
    """A layer of `lstm.input` and its kin is one node; its gates are put in ONNX's order by folding at load."""
    position = len(op.args) - 6
    flags = [flag is True for flag in op.args[position:]]
    has_biases, bidirectional, batch_first = flags[0], flags[4], flags[5]
    layers = op.args[position + 1]
    directions = 2 if bidirectional else 1
    per_direction = 4 if has_biases else 2
    states = {"LSTM": 2}.get(kind, 1)
    weights = inputs[1 + states :]
    batch_axis = 0 if batch_first else 1
    source = inputs[0]
    shape = low.shape(source)
    batch, length = (shape[0], shape[1]) if batch_first else (shape[1], shape[0])
    if batch_first:
        source = _transposed(low, op, source, (1, 0, 2))
    hidden = low.traced.tensors[op.outputs[0]].shape[-1] // directions
    for layer in range(layers if isinstance(layers, int) else 1):
        first = layer * directions * per_direction
        mine = weights[first : first + directions * per_direction]
        width = low.shape(source)[-1]
        gates = low.shape(mine[0])[0]
        operands: list[int] = []
        for offset, columns in ((1, hidden), (0, width)):  # folded against the order of the inputs
            result = low.constant((directions, gates, columns), 4)
            originals = tuple(mine[offset::per_direction])
            whole = low.graph.values[result].nbytes  # cut into gates, concatenated, and given an axis
            low.folds.append(Fold(originals, result, 3 * whole, 4 * whole))
            operands.insert(0, result)
        bias = [low.constant((directions, 2 * gates), 4)] if has_biases else [ABSENT]
        state = low.constant((directions, batch, hidden), 4)
        out = low.step(op, kind, [source, *operands, *bias, ABSENT, state], (length, directions, batch, hidden))
        node = low.graph.nodes[low.graph.made - 1]
        node.scratch = recurrent_scratch(kind, batch, length, width, hidden, directions)
        merged = _transposed(low, op, out, (0, 2, 1, 3))
        source = low.step(op, "Reshape", [merged, low.constant((3,))], (length, batch, directions * hidden))
    if batch_axis == 0:
        source = _transposed(low, op, source, (1, 0, 2))
    low.value_of[op.outputs[0]] = source
    for t in op.outputs[1:]:  # the last states, where somebody reads them
        spec = low.traced.tensors[t]
        low.value_of[t] = low.graph.value(spec.shape, ITEMSIZE[spec.dtype])
        node.outputs.append(low.value_of[t])


def _transposed(low: Builder, op: Op, value: int, permutation: tuple[int, ...]) -> int:
    shape = low.shape(value)
    out = low.step(op, "Transpose", [value], [shape[axis] for axis in permutation])
    low.graph.nodes[low.graph.made - 1].permutation = permutation
    return out
