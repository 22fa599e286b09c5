"""What one XNNPACK operator packs when it is made, and allocates when it is given its shape.

Read in XNNPACK's src/operators and src/subgraph. Sizes of C structures are those of the 64-bit build; they are
pointers and size_t throughout, so a 32-bit build takes half.
"""

from collections.abc import Callable
from math import prod
from typing import NamedTuple

from edgebudget.runtimes._glibc import usable_bytes
from edgebudget.runtimes._xnnpack.memory_planner import EXTRA_BYTES, round_up
from edgebudget.runtimes._xnnpack.tiles import Gemm, Tiles

# What the blocks that xnn_create_* allocates for its structures take, as malloc hands them out: struct xnn_operator,
# xnn_convolution_operator, one and two and three compute_parameters, igemm_op_context, dwconv_op_context,
# gemm_op_context, reduce_context, a time stamp an operator object. The contexts are those for one kind of core.
OPERATOR, CONVOLUTION, COMPUTE, COMPUTE_2, COMPUTE_3 = 520, 232, 88, 184, 264
IGEMM_CONTEXT, DWCONV_CONTEXT, GEMM_CONTEXT, REDUCE_CONTEXT = 408, 344, 696, 216
POINTER = 8
POOLING_NODE = OPERATOR + COMPUTE + CONVOLUTION  # create_max_pooling2d_nhwc, create_average_pooling2d_nhwc


def _igemm_kernels(tiles: Tiles) -> int:
    """struct xnn_ukernel_igemm: a kernel of both sorts for each number of rows and each kind of core."""
    return usable_bytes(2 * tiles.kernel_rows * tiles.core_kinds * POINTER + 8)


def _gemm_kernels(tiles: Tiles) -> int:
    """struct gemm_types: kernels for each number of rows and each kind of core, wide and narrow."""
    return usable_bytes(2 * (tiles.kernel_rows * tiles.core_kinds * POINTER + 16))


def _with_kinds(context: int, tiles: Tiles) -> int:
    """A context that holds the kernel itself: struct xnn_hmp_gemm_ukernel, xnn_hmp_igemm_ukernel."""
    return context + (tiles.core_kinds - 1) * POINTER


def _convolution_node(tiles: Tiles) -> int:
    return OPERATOR + COMPUTE_3 + CONVOLUTION + _igemm_kernels(tiles)  # create_convolution2d_nhwc


def _fully_connected_node(tiles: Tiles) -> int:  # create_fully_connected_nc
    return OPERATOR + COMPUTE_2 + CONVOLUTION + _gemm_kernels(tiles) + _with_kinds(GEMM_CONTEXT, tiles)


class Cost(NamedTuple):
    """`structures` and `packed`: what is held from creation on; `shaped`: what the first run adds on the heap;
    `workspace`: scratch the planner places while the operator runs; `unwritten`: how much of `shaped` stays as it was
    allocated."""

    structures: int
    packed: int = 0
    shaped: int = 0
    workspace: int = 0
    unwritten: int = 0

    def on(self, tiles: Tiles) -> "Cost":
        """Return the cost where the kernels are those of `tiles`: the same with any."""
        return self


class Priced(NamedTuple):
    """What an operator costs where that depends on the kernels: `price` of a table of them and of `arguments`."""

    price: Callable[..., Cost]
    arguments: tuple[object, ...]

    def on(self, tiles: Tiles) -> Cost:
        """Return the cost where the kernels are those of `tiles`."""
        return self.price(tiles, *self.arguments)


SIMPLE = Cost(OPERATOR + COMPUTE)  # binary, transpose, slice, softmax, pad
UNARY = Cost(OPERATOR + COMPUTE_2)  # unary-elementwise-nc.c; reshape and copy run as one
LOOK_UP = Cost(OPERATOR + COMPUTE_2 + 2 * usable_bytes(256))  # the table as a value, and the operator's copy


def concatenation(parts: int) -> Cost:
    """A copy operator for each part: src/subgraph/concatenate.c."""
    return Cost(parts * (OPERATOR + COMPUTE_2))


class Precision(NamedTuple):
    """How an operator computes: bytes of an activation, a weight and a bias, and of a channel's scale."""

    name: str
    element: int
    weight: int
    bias: int
    scale: int


F32 = Precision("f32", 4, 4, 4, 0)
F16 = Precision("f16", 2, 2, 2, 0)
QS8 = Precision("qs8_qc8w", 1, 1, 4, 4)  # scale: extra_weights_bytes = sizeof(float) of the qs8_qc8w variants
QD8 = Precision("qd8_f32_qc8w", 1, 1, 4, 8)  # a scale and, apart from the sums in its place, the bias
INTEGER = (QS8, QD8)
GROUP_SCALE_BYTES = 2  # bfloat16
TOKEN_BYTES = 8  # struct xnn_qd8_quantization_params
L2_BYTES = 1 << 20  # a core's own cache on recent processors, between 256 KiB and 2 MiB; XNNPACK asks cpuinfo


def _gemm(tiles: Tiles, precision: Precision, channels: int) -> Gemm:
    """The kernel of a fully connected operator with `channels` outputs: init_gemm_config, xnn_use_nr2."""
    if precision is QD8 and tiles.qd8_gemm is not None:
        return tiles.qd8_gemm
    if precision in INTEGER:  # on Arm without dot products 2x8c2s4 for QD8: padded alike
        return tiles.qs8_gemm
    if precision is F16 and tiles.f16_gemm is not None:
        return tiles.f16_gemm
    wide, narrow = tiles.f32_gemm, tiles.f32_narrow
    waste, less = -channels % wide.nr, -channels % narrow.nr
    return narrow if wide.nr > channels or (less < waste and waste * 100 > channels) else wide


def _igemm(tiles: Tiles, precision: Precision, group_channels: int) -> Gemm:
    if precision is QD8 and tiles.qd8_igemm is not None:
        return tiles.qd8_igemm
    if precision in INTEGER:
        return tiles.qs8_gemm
    if precision is F16 and tiles.f16_gemm is not None:
        return tiles.f16_gemm
    return tiles.f32_narrow if tiles.f32_igemm.nr > group_channels else tiles.f32_igemm


def packed_bytes(
    gemm: Gemm, precision: Precision, inputs: int, outputs: int, taps: int, alignment: int, groups: int = 1
) -> int:
    """Return the packed weights of `groups` products of `taps` x `inputs` by `outputs`: create_igemm's arithmetic.

    Each output channel, padded to `nr`, has its bias, its scale and `taps` rows of inputs padded to `kr * sr`.
    """
    row = taps * round_up(inputs, gemm.kr * gemm.sr) * precision.weight + precision.bias + precision.scale
    return round_up(row * round_up(outputs, gemm.nr) * groups, alignment)


def fully_connected(tiles: Tiles, precision: Precision, inputs: int, outputs: int, rows: int) -> Cost:
    """A product of `rows` by `inputs` with `inputs` by `outputs`: src/operators/fully-connected-nc.c."""
    gemm = _gemm(tiles, precision, outputs)
    packed = packed_bytes(gemm, precision, inputs, outputs, 1, tiles.alignment)
    rows_quantized = 0
    if precision is QD8:
        rows_quantized = _quantized_rows_bytes(gemm, inputs, outputs, rows, packed // round_up(outputs, gemm.nr))
    return Cost(_fully_connected_node(tiles), usable_bytes(packed, tiles.alignment), workspace=rows_quantized)


def _quantized_rows_bytes(gemm: Gemm, inputs: int, outputs: int, rows: int, weight_stride: int) -> int:
    """Return the scratch in which a product quantizes its rows, on one thread: one tile of them at a time where that,
    the weights and a tile of results stay in the cache, else all of them (xnn_should_inline_lhs_packing)."""
    tile = min(gemm.mr, rows)
    row = TOKEN_BYTES + round_up(inputs, gemm.kr * gemm.sr)
    inlined = tile * row + outputs * weight_stride + tile * outputs * F32.element <= L2_BYTES
    return row * (tile if inlined else rows)


def grouped_fully_connected(tiles: Tiles, inputs: int, outputs: int, rows: int, group_numel: int) -> Cost:
    """A fully connected operator over 4-bit weights with a bfloat16 scale a group: qd8_f32_qb4w, two weights a byte."""
    gemm = tiles.qb4_gemm
    step = 2 * gemm.kr * gemm.sr
    row = round_up(inputs, step) // 2 + inputs // group_numel * GROUP_SCALE_BYTES + QD8.bias + 4
    return Cost(
        _fully_connected_node(tiles),
        usable_bytes(round_up(row * round_up(outputs, gemm.nr), tiles.alignment), tiles.alignment),
        workspace=_quantized_rows_bytes(gemm, inputs, outputs, rows, row),
    )


def is_product(weight: tuple[int, ...], params: tuple[int, ...]) -> bool:
    """Whether XNNPACK makes this convolution, which is not a transposed one, a product: xnn_define_convolution_2d."""
    stride_h, stride_w, pad_h, pad_w, _, _, groups = params[:7]
    outputs, inputs, *kernel = weight
    point = prod(kernel) == stride_h == stride_w == 1 and not (pad_h or pad_w)
    return point and groups == 1 and inputs + outputs > 2


def convolution(
    tiles: Tiles,
    precision: Precision,
    weight: tuple[int, ...],
    params: tuple[int, ...],
    out_hw: tuple[int, int],
    batch: int,
) -> Cost:
    """A 2-D convolution with `weight` as PyTorch has it and `params` as `edge` writes them."""
    _, stride_w, pad_h, pad_w, _, dilation_w, groups = params[:7]
    outputs, inputs, kernel_h, kernel_w = weight
    taps, group_outputs = kernel_h * kernel_w, outputs // groups
    padded = bool(pad_h or pad_w)
    # One channel a group is depthwise; `vmulcaddc_config` is never set at this commit, so that 1x1 is as well.
    depthwise = inputs == 1 and group_outputs == 1
    if is_product(weight, params):
        return fully_connected(tiles, precision, inputs, outputs, batch * out_hw[0] * out_hw[1])
    if depthwise:
        dwconv = {"f32": tiles.f32_dwconv, "qs8_qc8w": tiles.qs8_dwconv}.get(precision.name) or tiles.f16_dwconv or {}
        primary = min((tile for tile in dwconv if tile >= taps), default=0)
        if primary:
            channels = round_up(outputs, dwconv[primary])
            packed = (primary * precision.weight + precision.bias + precision.scale) * channels
            packed = round_up(packed, tiles.alignment)
            zero = usable_bytes(EXTRA_BYTES + channels * precision.element) if padded else 0
            step_w = min(stride_w, kernel_w) if dilation_w == 1 else kernel_w
            pointers = out_hw[0] * (taps + (out_hw[1] - 1) * step_w * kernel_h) + primary - taps
            indirection = round_up(pointers * tiles.pointer_bytes, tiles.alignment)
            packed = usable_bytes(packed, tiles.alignment) + zero
            return Cost(_convolution_node(tiles) + DWCONV_CONTEXT, packed, usable_bytes(indirection))
    gemm = _igemm(tiles, precision, group_outputs)
    packed = packed_bytes(gemm, precision, inputs, group_outputs, taps, tiles.alignment, groups)
    zero = usable_bytes(EXTRA_BYTES + round_up(inputs, gemm.kr * gemm.sr) * precision.element) if padded else 0
    pixels = out_hw[0] * out_hw[1]
    indirection = tiles.pointer_bytes * taps * round_up(pixels, gemm.rows_for(pixels))
    packed = usable_bytes(packed, tiles.alignment) + zero
    return Cost(_convolution_node(tiles) + _with_kinds(IGEMM_CONTEXT, tiles), packed, usable_bytes(indirection))


def transposed_convolution(
    tiles: Tiles,
    precision: Precision,
    weight: tuple[int, ...],
    params: tuple[int, ...],
    out_hw: tuple[int, int],
    batch: int,
) -> Cost:
    """`conv_transpose2d`: src/operators/deconvolution-nhwc.c; strided ones run as one sub-convolution a phase."""
    stride_h, stride_w, _, _, dilation_h, dilation_w, groups = params[:7]
    channels, group_outputs, kernel_h, kernel_w = weight
    inputs, taps = channels // groups, kernel_h * kernel_w
    gemm = _igemm(tiles, precision, group_outputs)
    by_phase = max(stride_h, stride_w) > 1 == dilation_h == dilation_w and stride_w <= kernel_w and stride_h <= kernel_h
    phases = stride_h * stride_w if by_phase else 1
    k_stride = round_up(inputs, gemm.kr * gemm.sr)
    packed = round_up(group_outputs, gemm.nr) * (
        taps * k_stride * precision.weight + (precision.bias + precision.scale) * phases
    )
    packed = round_up(packed * groups, tiles.alignment)
    zero = usable_bytes(EXTRA_BYTES + k_stride * precision.element)
    if by_phase:
        rows = gemm.rows_for(batch)  # reshape_subconv2d asks for the batch size, not for the pixels
        pointers = taps * out_hw[0] * stride_w * round_up(-(-out_hw[1] // stride_w), rows)
    else:
        pixels = out_hw[0] * out_hw[1]
        pointers = taps * round_up(pixels, gemm.rows_for(pixels))
    packed = usable_bytes(packed, tiles.alignment) + zero
    indirection = pointers * tiles.pointer_bytes
    return Cost(
        _convolution_node(tiles) + _with_kinds(IGEMM_CONTEXT, tiles),
        packed,
        usable_bytes(indirection),
        unwritten=indirection - indirection // phases,  # each phase has its own taps only (indirection.c)
    )


def batch_matmul(tiles: Tiles, precision: Precision, batch: int, k: int, n: int) -> Cost:
    """A product of two activations: the right side is packed into the workspace each run."""
    gemm = tiles.f16_gemm if precision is F16 and tiles.f16_gemm is not None else tiles.f32_gemm
    row = round_up(k, gemm.kr * gemm.sr) * precision.weight + precision.bias
    structures = OPERATOR + COMPUTE_3 + _gemm_kernels(tiles) + _with_kinds(GEMM_CONTEXT, tiles)
    return Cost(structures, 0, 0, batch * round_up(n, gemm.nr) * row)


def max_pooling(tiles: Tiles, params: tuple[int, ...], out_hw: tuple[int, int]) -> Cost:
    """`params`: kernel, stride, padding, dilation. The indirection buffer covers every output row."""
    kernel_h, kernel_w, _, stride_w = params[:4]
    step_w = kernel_w if params[7] > 1 else min(stride_w, kernel_w)
    pointers = out_hw[0] * (kernel_h * kernel_w + (out_hw[1] - 1) * step_w * kernel_h) + kernel_h * kernel_w - 1
    return Cost(POOLING_NODE, 0, usable_bytes(pointers * tiles.pointer_bytes))


def average_pooling(
    tiles: Tiles, precision: Precision, params: tuple[int, ...], channels: int, out_hw: tuple[int, int]
) -> Cost:
    """`params`: kernel, stride, padding. Rows that touch no padding share one row of pointers (`*_compressed`)."""
    kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w = params[:6]
    step_w = min(stride_w, kernel_w)
    rows = 2 * -(-pad_h // stride_h) + 1
    pointers = rows * (kernel_h * kernel_w + (out_hw[1] - 1) * step_w * kernel_h) + kernel_h * kernel_w - 1
    zero = channels * precision.element + EXTRA_BYTES
    pixelwise = out_hw[0] * out_hw[1] * precision.element if pad_h or pad_w else 0
    return Cost(POOLING_NODE, 0, pointers * tiles.pointer_bytes + zero + pixelwise)


def global_pooling(precision: Precision, channels: int) -> Cost:
    """A mean over both inner axes: a zero row, and where sums are wider than elements, a workspace for them."""
    wider = 0 if precision is F32 else channels * 4 + EXTRA_BYTES
    return Cost(OPERATOR + COMPUTE + REDUCE_CONTEXT, 0, channels * precision.element + EXTRA_BYTES, wider)


def resize_bilinear(tiles: Tiles, precision: Precision, out_hw: tuple[int, int]) -> Cost:
    """Four pointers and two weights an output pixel, on the heap from the first run on."""
    pixels = out_hw[0] * out_hw[1]
    weights = 2 * (4 if precision is F32 else 2)
    return Cost(POOLING_NODE, 0, pixels * (4 * tiles.pointer_bytes + weights))
