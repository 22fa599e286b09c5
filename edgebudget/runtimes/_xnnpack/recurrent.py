"""Recurrent layers and cells, unrolled as export unrolls them: one step after the other.

Each step's recurrent product is an operator of its own, with the same weights as its operand, and each packs them.
"""

from collections.abc import Callable

from edgebudget.graph import Arg
from edgebudget.runtimes._functional import Node
from edgebudget.runtimes._xnnpack.edge import EdgeOp, Lowering, Shape

# One step: (projected inputs, hidden state, cell state or -1, recurrent weights, shape of a state) -> new states.
Step = Callable[[Lowering, Node, int, int, int, list[int], Shape], tuple[int, int]]


def _linear(low: Lowering, node: Node, source: int, weights: list[int]) -> int:
    """Emit `source` times the weights, which are a matrix and, where there is one, a bias."""
    shape = (*low.g.shapes[source][:-1], low.g.shapes[weights[0]][0])
    return low.step(node, "linear", [source, *weights], shape)


def _split(low: Lowering, node: Node, source: int, shape: Shape, parts: int) -> list[int]:
    pieces = [low.g.add(shape, low.g.dtypes[source]) for _ in range(parts)]
    low.g.ops.append(EdgeOp("split_with_sizes_copy", [source], pieces, (), node))
    return pieces


def _lstm_step(
    low: Lowering, node: Node, projected: int, state: int, cell: int, weights: list[int], shape: Shape
) -> tuple[int, int]:
    recurrent = _linear(low, node, state, weights)
    total = low.step(node, "add", [recurrent, projected], low.g.shapes[recurrent])
    pieces = _split(low, node, total, shape, 4)
    into = low.step(node, "sigmoid", [pieces[0]], shape)
    forget = low.step(node, "sigmoid", [pieces[1]], shape)
    new = low.step(node, "tanh", [pieces[2]], shape)
    out = low.step(node, "sigmoid", [pieces[3]], shape)
    kept = low.step(node, "mul", [forget, cell], shape)
    added = low.step(node, "mul", [into, new], shape)
    cell = low.step(node, "add", [kept, added], shape)
    squashed = low.step(node, "tanh", [cell], shape)
    return low.step(node, "mul", [out, squashed], shape), cell


def _gru_step(
    low: Lowering, node: Node, projected: int, state: int, cell: int, weights: list[int], shape: Shape
) -> tuple[int, int]:
    inputs = _split(low, node, projected, (*low.g.shapes[projected][:-1], shape[-1]), 3)
    hidden = _split(low, node, _linear(low, node, state, weights), shape, 3)
    reset = low.step(node, "add", [hidden[0], inputs[0]], shape)
    reset = low.step(node, "sigmoid", [reset], shape)
    update = low.step(node, "add", [hidden[1], inputs[1]], shape)
    update = low.step(node, "sigmoid", [update], shape)
    new = low.step(node, "mul", [hidden[2], reset], shape)
    new = low.step(node, "add", [inputs[2], new], shape)
    new = low.step(node, "tanh", [new], shape)
    change = low.step(node, "sub", [state, new], shape)
    change = low.step(node, "mul", [change, update], shape)
    return low.step(node, "add", [change, new], shape), cell


def _rnn_step(
    low: Lowering, node: Node, projected: int, state: int, cell: int, weights: list[int], shape: Shape
) -> tuple[int, int]:
    total = low.step(node, "add", [_linear(low, node, state, weights), projected], shape)
    return low.step(node, "relu" if "relu" in node.name else "tanh", [total], shape), cell


def _refs(low: Lowering, arg: Arg) -> list[int]:
    return [low.ref(item) for item in arg] if isinstance(arg, tuple) else [low.ref(arg)]


def _cell(step: Step, states: int) -> Callable[[Lowering, Node], None]:
    """`lstm_cell(x, (h, c), w_ih, w_hh, b_ih, b_hh)` and its like."""

    def rule(low: Lowering, node: Node) -> None:
        held = _refs(low, node.arg(1, "hx"))
        weights = [v for v in (low.ref(node.arg(i, "")) for i in (2, 3, 4, 5)) if v >= 0]
        projected = _linear(low, node, low.ref(node.arg(0, "input")), weights[0::2])
        shape = low.g.shapes[node.outputs[0]]
        new = step(low, node, projected, held[0], held[-1], weights[1::2], shape)
        for output, value in zip(node.outputs, new[:states], strict=False):
            low.g.alias[output] = value

    return rule


def _layer(step: Step, states: int) -> Callable[[Lowering, Node], None]:
    """`lstm(x, (h, c), params, has_biases, layers, dropout, train, bidirectional, batch_first)` and its like."""

    def rule(low: Lowering, node: Node) -> None:
        source = low.at(node.inputs[0])
        held, weights = _refs(low, node.arg(1, "hx")), _refs(low, node.arg(2, "params"))
        per = 4 if node.arg(3, "has_biases", True) else 2
        directions = 2 if node.arg(7, "bidirectional", False) else 1
        batch_first = bool(node.arg(8, "batch_first", False))
        if batch_first:
            batch, steps, width = low.g.shapes[source]
            source = low.step(node, "permute_copy", [source], (steps, batch, width))
        for layer in range(0, len(weights), per * directions):
            results = [
                _unroll(low, node, step, source, held, weights[offset : offset + per])
                for offset in range(layer, layer + per * directions, per)
            ]
            source = results[0]
            if len(results) > 1:
                shape = low.g.shapes[source]
                source = low.step(node, "cat", results, (*shape[:-1], shape[-1] * len(results)))
        if batch_first:
            low.emit(node, "permute_copy", [source], node.outputs[0])
        else:
            low.g.alias[node.outputs[0]] = source
        for output in node.outputs[1 : 1 + states]:
            low.emit(node, "unsqueeze_copy", [source], output, (0,))

    return rule


def _unroll(low: Lowering, node: Node, step: Step, source: int, held: list[int], weights: list[int]) -> int:
    """One direction of one layer: a linear for the inputs of all steps, then a step at a time."""
    steps, batch, _ = low.g.shapes[source]
    hidden = low.g.shapes[weights[1]][1]
    shape = (1, batch, hidden)
    states = []
    for value in held:
        squeezed = low.step(node, "squeeze_copy", [value], (batch, hidden))
        states.append(low.step(node, "unsqueeze_copy", [squeezed], shape, (0,)))
    state, cell = states[0], states[-1]
    projected = _linear(low, node, source, weights[0::2])
    width = low.g.shapes[projected][-1]
    outputs = []
    for _ in range(steps):
        part = low.step(node, "slice_copy", [projected], (1, batch, width), (1,))
        part = low.step(node, "squeeze_copy", [part], (batch, width))
        state, cell = step(low, node, part, state, cell, weights[1::2], shape)
        outputs.append(state)
    return low.step(node, "cat", outputs, (steps, batch, hidden)) if len(outputs) > 1 else outputs[0]


RECURRENT = {
    "lstm": _layer(_lstm_step, 2),
    "gru": _layer(_gru_step, 1),
    "rnn_tanh": _layer(_rnn_step, 1),
    "rnn_relu": _layer(_rnn_step, 1),
    "lstm_cell": _cell(_lstm_step, 2),
    "gru_cell": _cell(_gru_step, 1),
    "rnn_tanh_cell": _cell(_rnn_step, 1),
    "rnn_relu_cell": _cell(_rnn_step, 1),
}
"""The rule of each recurrent operator, by name."""


def is_projected(low: Lowering, node: Node) -> bool:
    """Whether an LSTM's output is smaller than its cell state (`proj_size`), which no rule here is for."""
    hidden, cell = _refs(low, node.arg(1, "hx"))
    return low.g.shapes[hidden][-1] != low.g.shapes[cell][-1]
