"""What attention and recurrent operators allocate inside.

Read in ATen/native/transformers/attention.cpp and ATen/native/cpu/FlashAttentionKernel.cpp (the flash kernel for the
CPU and its fallback in plain operators), ATen/native/RNN.cpp, ATen/native/mkldnn/RNN.cpp and oneDNN's rnn_utils.cpp;
every formula reproduces the profiler's allocations.
"""

from math import prod

from edgebudget.graph import ITEMSIZE, TensorSpec
from edgebudget.runtimes._onednn_conv import booked, round_up
from edgebudget.runtimes._pytorch_call import Call
from edgebudget.runtimes._pytorch_kernels import Onednn
from edgebudget.eager import dense_strides, merges, takes_flash

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
    """`_scaled_dot_product_attention_math`: scaled copies, scores, their softmax, and a mask of rows that are all -inf."""
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


def lstm_bytes(call: Call) -> int:
    """lstm.input: one oneDNN primitive a layer and direction, with reordered weights; or step by step without oneDNN."""
    parameters = call.tensors_of(call.op.arg(2, "params"))
    has_bias = call.op.arg(3, "has_biases") is True
    layers = int(str(call.op.arg(4, "num_layers")))
    directions = 2 if call.op.arg(7, "bidirectional") is True else 1
    x, outputs = call.input(), [call.output(i) for i in range(len(call.op.outputs))]
    per_cell = 4 if has_bias else 2
    hidden = parameters[1].shape[1]
    steps_by_batch = x.numel // x.shape[-1]
    batch = outputs[1].numel // (layers * directions * hidden)
    steps = steps_by_batch // max(batch, 1)
    itemsize = call.itemsize(x)
    layer_output, state = steps_by_batch * hidden * itemsize, batch * hidden * itemsize
    finals = sum(call.nbytes(out) for out in outputs)
    if call.kernels.onednn is Onednn.OFF:
        gates = 4 * hidden * itemsize
        # Input gates of all steps at once, then per step gates, states, and every step's output until they are joined.
        return steps_by_batch * gates + 2 * batch * gates + 4 * state + 2 * layer_output + 2 * layers * state
    peak = 0
    for layer in range(layers):
        wide = x.shape[-1] if layer == 0 else hidden * directions
        weights = sum(prod(p.shape) for p in parameters[layer * directions * per_cell :][:2]) * itemsize
        inside = 4 * hidden * itemsize + weights + _rnn_scratchpad_bytes(steps, batch, wide, hidden, itemsize)
        kept = 0 if layer == 0 else layer_output * directions  # what the layer before gave
        states = 2 * state * (layer * directions + directions)
        peak = max(peak, kept + layer_output * directions + states + inside)
    return max(0, peak - finals)


def _rnn_scratchpad_bytes(steps: int, batch: int, wide: int, hidden: int, itemsize: int) -> int:
    """Bytes of oneDNN's scratchpad for one LSTM layer: states and gates of all steps, each from a page on."""
    lanes = 64 // itemsize
    row = round_up(max(wide, hidden), lanes)
    row += lanes if row % 256 == 0 else 0
    gates_row = round_up(4 * hidden, lanes)
    gates_row += lanes if gates_row % 256 == 0 else 0
    end = 2 * (steps + 1) * batch * row * itemsize
    end = round_up(end, _PAGE) + 2 * (steps + 1) * batch * hidden * 4
    end = round_up(end, _PAGE) + steps * batch * gates_row * 4
    space = round_up(end, _PAGE) + _PAGE
    pointers = 3 * booked(8) + booked(32)
    batches = _PAGE + 208  # brgemm's list of matrices, for up to two products
    return space + pointers + batches
