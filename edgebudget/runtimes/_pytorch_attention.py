"""What attention and recurrent operators allocate inside.

Read in ATen/native/transformers/attention.cpp and ATen/native/cpu/FlashAttentionKernel.cpp (the flash kernel for the
CPU and its fallback in plain operators), ATen/native/RNN.cpp, ATen/native/mkldnn/RNN.cpp and oneDNN's rnn_utils.cpp;
every formula reproduces the profiler's allocations.
"""

from math import prod
from typing import NamedTuple

from edgebudget.eager import dense_strides, merges, takes_flash
from edgebudget.graph import ITEMSIZE, TensorSpec
from edgebudget.runtimes._onednn_conv import booked, round_up
from edgebudget.runtimes._pytorch_call import Call

_ACCUMULATED = 4  # float32, whatever the type of the inputs
_KEY_SPLIT = 512
_PAGE = 4096


def attention_bytes(call: Call) -> int:
    """scaled_dot_product_attention: the flash kernel's blocks for one thread, or the fallback's score matrices."""
    query, key, value = call.input(0), call.input(1), call.input(2)
    mask = call.tensor(3, "attn_mask")
    converted = mask.numel * call.itemsize(query) if mask is not None and mask.dtype == "bool" else 0
    last_strides = (query.stride[-1], key.stride[-1], value.stride[-1])
    if takes_flash(query.shape, key.shape, value.shape, last_strides, mask.shape if mask is not None else None):
        return converted + _flash_bytes(call, query, key)
    return converted + _fallback_bytes(call, query, key, value)


def _flash_bytes(call: Call, query: TensorSpec, key: TensorSpec) -> int:
    """Return the log-sum-exp and one thread's block of scores, row maxima and sums, and accumulated output."""
    *outer, length, head = query.shape
    rows = min(256 if length >= 768 else 64 if length >= 192 else 32, length)
    columns = min(_KEY_SPLIT, key.shape[-2])
    block = (rows * columns + 2 * rows + rows * head) * _ACCUMULATED
    reduced = 0 if call.itemsize(query) == _ACCUMULATED else rows * columns * call.itemsize(query)
    return prod(outer) * length * _ACCUMULATED + block + reduced


def _fallback_bytes(call: Call, query: TensorSpec, key: TensorSpec, value: TensorSpec) -> int:
    """`_scaled_dot_product_attention_math`: scaled copies, scores, their softmax, and which rows are all -inf."""
    itemsize = call.itemsize(query)
    q, k, out = call.nbytes(query), call.nbytes(key), call.nbytes(call.output())
    rows = query.numel // query.shape[-1]
    scores_numel = rows * key.shape[-2]
    scores = scores_numel * itemsize
    copies = sum(call.nbytes(t) for t in (query, key) if not _batches(t.shape, dense_strides(t.shape, t.stride)))
    value_copy = 0 if _batches(value.shape, value.stride) else call.nbytes(value)
    safe_softmax = q + 2 * scores + scores_numel + rows + ITEMSIZE["float32"]
    return max(q + k + copies + scores, safe_softmax, q + scores + value_copy + out) - out


def _batches(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    return merges(shape[:-2], stride[:-2])


class _Recurrence(NamedTuple):
    """Sizes of a recurrent operator, in bytes for one layer and direction; `finals` are what it returns in all."""

    steps: int
    batch: int
    layers: int
    directions: int
    hidden: int
    itemsize: int
    sequence: int  # the outputs of all steps
    state: int  # the hidden state of one step
    copied: int  # the input with steps first, where it comes with the batch first
    finals: int
    weights: tuple[int, ...]  # input and recurrent weights of each layer and direction
    wide: int  # input features of the first layer


def _recurrence(call: Call) -> _Recurrence:
    """lstm/gru/rnn(input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first)."""
    parameters = call.tensors_of(call.op.arg(2, "params"))
    layers = int(str(call.op.arg(4, "num_layers")))
    directions = 2 if call.op.arg(7, "bidirectional") is True else 1
    batch_first = call.op.arg(8, "batch_first") is True
    x, itemsize = call.input(), call.itemsize(call.input())
    hidden = parameters[1].shape[-1]
    batched = len(x.shape) == 3
    batch = (x.shape[0] if batch_first else x.shape[1]) if batched else 1
    steps = x.numel // x.shape[-1] // max(batch, 1)
    per_cell = len(parameters) // (layers * directions)
    cells = [parameters[i : i + 2] for i in range(0, len(parameters), per_cell)]
    return _Recurrence(
        steps=steps,
        batch=batch,
        layers=layers,
        directions=directions,
        hidden=hidden,
        itemsize=itemsize,
        sequence=steps * batch * hidden * itemsize,
        state=batch * hidden * itemsize,
        copied=call.nbytes(x) if batch_first and batch > 1 and steps > 1 else 0,
        finals=sum(call.nbytes(call.output(i)) for i in range(len(call.op.outputs))),
        weights=tuple(sum(p.numel for p in cell) * itemsize for cell in cells),
        wide=x.shape[-1],
    )


def lstm_bytes(call: Call) -> int:
    """lstm.input: a oneDNN primitive for each layer and direction, with reordered weights; without oneDNN, in steps."""
    r = _recurrence(call)
    if not call.kernels.takes(call.dtype(call.input())):
        return _stepwise_bytes(r, gates=4, temporaries=8, states=2)
    peak = r.copied
    for layer in range(r.layers):
        wide = r.wide if layer == 0 else r.hidden * r.directions
        before = 0 if layer == 0 else r.sequence * r.directions  # what the layer before gave
        for direction in range(r.directions):
            cell = layer * r.directions + direction
            scratchpad = _lstm_scratchpad_bytes(r.steps, r.batch, wide, r.hidden, r.itemsize)
            inside = 4 * r.hidden * r.itemsize + r.weights[cell] + scratchpad
            kept = before + r.sequence * (direction + 1) + 2 * r.state * (cell + 1)
            if layer > 0 and r.directions > 1:  # pieces of the layer before live until this one's replace them
                kept += r.sequence * (r.directions - direction)
            peak = max(peak, r.copied + kept + inside)
    joined = 2 * r.sequence * r.directions if r.directions > 1 else r.sequence
    hidden_states = 4 * r.state * r.layers * r.directions
    return max(0, peak - r.finals, r.copied + joined + hidden_states - r.finals)


def gru_bytes(call: Call) -> int:
    """gru.input: three gates, step by step (oneDNN's kernel is not used for it)."""
    return _stepwise_bytes(_recurrence(call), gates=3, temporaries=5, states=1)


def rnn_bytes(call: Call) -> int:
    """rnn_tanh.input and rnn_relu.input, step by step."""
    return _stepwise_bytes(_recurrence(call), gates=1, temporaries=2, states=1)


def _stepwise_bytes(r: _Recurrence, gates: int, temporaries: int, states: int) -> int:
    """The input's gates for all steps, then a step at a time; all steps' outputs are kept until they are joined.

    `temporaries` are states' worth of bytes alive within a step. The second direction's gates are made while the first
    direction's are still held; its outputs live beside the first's until both are joined.
    """
    peak = 0
    all_gates = gates * r.sequence
    for layer in range(r.layers):
        before = states * r.state * layer * r.directions + (r.sequence * r.directions if layer else 0)
        copied = 0 if layer else r.copied
        stepping = max(r.sequence + (temporaries - 1) * r.state, 2 * r.sequence + (states - 1) * r.state)
        peak = max(peak, before + all_gates + max(copied, stepping))
        if r.directions > 1:
            first = 2 * r.sequence + (states - 1) * r.state
            second = max(all_gates + first + copied + all_gates, all_gates + first + stepping)
            peak = max(peak, before + second, before + all_gates + 2 * first + r.sequence * r.directions)
    returned = r.sequence * r.directions + 2 * states * r.state * r.layers * r.directions
    return max(0, max(peak, returned) - r.finals)


def _lstm_scratchpad_bytes(steps: int, batch: int, wide: int, hidden: int, itemsize: int) -> int:
    """Bytes of oneDNN's scratchpad for one LSTM layer: the states of all steps, then gates, each from a page on.

    Gates are those of one step, or of all where a single sequence lets the steps' input products merge.
    """
    lanes = 64 // itemsize
    row = round_up(max(wide, hidden), lanes)
    row += lanes if row % 256 == 0 else 0
    gates_row = round_up(4 * hidden, lanes)
    gates_row += lanes if gates_row % 256 == 0 else 0
    end = 2 * (steps + 1) * batch * row * itemsize
    end = round_up(end, _PAGE) + 2 * (steps + 1) * batch * hidden * 4
    merges_steps = batch == 1 and steps > 1
    end = round_up(end, _PAGE) + (steps if merges_steps else 1) * batch * gates_row * 4
    hidden_row = round_up(hidden, lanes)
    hidden_row += lanes if hidden_row % 256 == 0 else 0
    end = round_up(end, _PAGE) + batch * hidden_row * itemsize
    space = round_up(end, _PAGE) + _PAGE
    pointers = 3 * booked(8) + booked(32)
    products = 4 if wide == hidden and not merges_steps else 2  # entries of 40 bytes in brgemm's list of matrices
    return space + pointers + booked(products * 40)
