"""What XNNPACK's operators pack, against arithmetic done by hand."""

import pytest

from edgebudget.runtimes._glibc import usable_bytes
from edgebudget.runtimes._xnnpack import operators
from edgebudget.runtimes._xnnpack.operators import F16, F32, QD8, QS8, packed_bytes
from edgebudget.runtimes._xnnpack.tiles import Gemm, tiles_for
from edgebudget.target import Target

X86 = tiles_for(Target(isa="x86-64"))
A72 = tiles_for(Target(isa="armv8-a", cores=("cortex-a72",)))
A53 = tiles_for(Target(isa="armv8-a", cores=("cortex-a53",)))
A76 = tiles_for(Target(isa="armv8.2-a", cores=("cortex-a76",)))
ARM32 = tiles_for(Target(isa="armv7-a", pointer_bits=32))
PLAIN = (1, 1, 0, 0, 1, 1, 1, 0, 0, 0)  # stride, padding, dilation, groups, transposed, output padding


def _conv(stride: int = 1, padding: int = 0, groups: int = 1, dilation: int = 1) -> tuple[int, ...]:
    return (stride, stride, padding, padding, dilation, dilation, groups, 0, 0, 0)


def test_fully_connected_pads_outputs_to_the_kernels_columns() -> None:
    # MobileNetV2's classifier on AVX-512: 1000 outputs to 1024 by nr = 32, but nr2 = 16 wastes less (1008), and the
    # waste of 24 is over 1 % of 1000: the narrow kernel. Each row 1280 floats and a bias.
    assert -(-1000 // 16) * 16 * (1280 * 4 + 4) == 5_164_992
    assert operators.fully_connected(X86, F32, 1280, 1000, 1).packed == usable_bytes(5_164_992, 64)


def test_fully_connected_keeps_the_wide_kernel_where_nothing_is_wasted() -> None:
    # 2304 is a multiple of 32: 2304 rows of 768 floats and a bias.
    assert operators.fully_connected(X86, F32, 768, 2304, 1).packed == usable_bytes(2304 * (768 * 4 + 4), 64)


def test_int8_rows_have_a_bias_and_a_scale_and_are_padded_to_eight() -> None:
    # 8c8 on AVX-512 VNNI: nr = 16, kr = 8. 20 inputs to 24, + int32 bias + float scale; 30 outputs to 32.
    assert packed_bytes(X86.qs8_gemm, QS8, 20, 30, 1, 64) == 32 * (24 + 4 + 4)


def test_int8_classifier_as_recorded() -> None:
    # 1000 outputs to 1008, 1280 inputs: 1008 * (1280 + 8) = 1,298,304, a block seen in a recorded run.
    assert operators.fully_connected(X86, QS8, 1280, 1000, 1).packed == usable_bytes(1_298_304, 64)


def test_dynamic_classifier_as_recorded() -> None:
    # Unsigned with AVX-512 VNNI, nr = 64: 1000 outputs to 1024, 1280 inputs, a sum, a scale and a bias, a block seen in
    # a recorded run. Its one row is quantized into 1280 bytes and two parameters.
    cost = operators.fully_connected(X86, QD8, 1280, 1000, 1)
    assert cost.packed == usable_bytes(1_323_008, 64) == usable_bytes(1024 * (1280 + 12), 64)
    assert cost.workspace == 1280 + 8


@pytest.mark.parametrize(("outputs", "rows"), [(64, 5), (8192, 196)])
def test_a_dynamic_product_quantizes_all_rows_where_a_tile_does_not_fit_the_cache(outputs: int, rows: int) -> None:
    assert operators.fully_connected(X86, QD8, 192, outputs, 196).workspace == rows * (192 + 8)


def test_convolution_packs_a_row_of_taps_and_points_at_every_pixel() -> None:
    # ResNet's first convolution: 64 x 3 x 7 x 7, stride 2, padding 3, to 112 x 112.
    cost = operators.convolution(X86, F32, (64, 3, 7, 7), _conv(2, 3), (112, 112), 1)
    packed = 64 * (49 * 3 * 4 + 4)  # 37,888; 64 outputs are two tiles of 32
    zero = 16 + 3 * 4  # a pixel of padding, XNN_EXTRA_BYTES past its end
    assert cost.packed == usable_bytes(packed, 64) + usable_bytes(zero)
    # mr = 7 divides 12,544 pixels: 8 bytes * 49 taps * 12,544.
    assert cost.shaped == usable_bytes(4_917_248)


def test_pointers_of_a_32_bit_machine_take_half() -> None:
    cost = operators.convolution(ARM32, F32, (64, 3, 7, 7), _conv(2, 3), (112, 112), 1)
    assert cost.shaped == usable_bytes(4 * 49 * 112 * 112)  # mr = 4 divides 12,544


def test_a_one_by_one_convolution_is_fully_connected() -> None:
    cost = operators.convolution(X86, F32, (96, 16, 1, 1), PLAIN, (112, 112), 1)
    assert cost == operators.fully_connected(X86, F32, 16, 96, 1)
    assert cost.shaped == 0


def test_a_strided_one_by_one_convolution_is_not() -> None:
    cost = operators.convolution(X86, F32, (128, 64, 1, 1), _conv(2), (28, 28), 1)
    assert cost.shaped == usable_bytes(8 * 1 * 784)


@pytest.mark.parametrize(
    ("tiles", "precision", "channel_tile", "row"),
    [(X86, F32, 16, 9 * 4 + 4), (X86, QS8, 32, 9 + 4 + 4), (A72, F32, 8, 9 * 4 + 4), (A53, F32, 4, 9 * 4 + 4)],
)
def test_depthwise_pads_channels(tiles, precision, channel_tile, row) -> None:  # type: ignore[no-untyped-def]
    cost = operators.convolution(tiles, precision, (100, 1, 3, 3), _conv(1, 1, 100), (14, 14), 1)
    channels = -(-100 // channel_tile) * channel_tile
    packed = -(-channels * row // tiles.alignment) * tiles.alignment
    assert cost.packed == usable_bytes(packed, tiles.alignment) + usable_bytes(16 + channels * precision.element)


def test_depthwise_rows_share_columns_of_pointers() -> None:
    # 14 x 14 outputs, 3 x 3, stride 1: a row has 9 + 13 * 1 * 3 pointers; 14 rows; 8 bytes each; rounded to 64.
    cost = operators.convolution(X86, F32, (384, 1, 3, 3), _conv(1, 1, 384), (14, 14), 1)
    assert cost.shaped == usable_bytes(-(-14 * (9 + 39) * 8 // 64) * 64) == usable_bytes(5376)


def test_a_large_depthwise_kernel_pads_each_channel_to_a_whole_tile() -> None:
    # 7 x 7 has more taps than any depthwise kernel (25): a product of one output a channel, padded to 16 columns.
    cost = operators.convolution(X86, F32, (96, 1, 7, 7), _conv(1, 3, 96), (56, 56), 1)
    assert cost.packed == usable_bytes(96 * 16 * (49 * 4 + 4), 64) + usable_bytes(16 + 4)


def test_strided_transposed_convolutions_have_a_bias_a_phase() -> None:
    # 2 x 2, stride 2: four phases; 64 to 32 channels. k = 64; 4 taps of 64 floats, and 4 biases.
    cost = operators.transposed_convolution(X86, F32, (64, 32, 2, 2), _conv(2), (64, 64), 1)
    assert cost.packed == usable_bytes(32 * (4 * 64 * 4 + 4 * 4), 64) + usable_bytes(16 + 64 * 4)
    # 4 taps, 64 rows, 2 column phases of 32: 131,072 bytes of pointers, as recorded.
    assert cost.shaped == usable_bytes(8 * 4 * 64 * 2 * 32) == usable_bytes(131_072)


def test_a_phase_of_a_strided_transposed_convolution_writes_its_own_pointers_only() -> None:
    cost = operators.transposed_convolution(X86, F32, (16, 16, 2, 2), (2, 2, 0, 0, 1, 1, 1), (128, 128), 1)
    pointers = 8 * (2 * 2) * 128 * 2 * 64  # taps, rows, and columns of both phases of a row
    assert cost.shaped == usable_bytes(pointers)
    assert cost.unwritten == pointers * 3 // 4


def test_half_precision_rows() -> None:
    # 4x32 on AVX-512: 1000 outputs to 1024, 1280 halves and a half bias: 2,623,488, as recorded.
    assert operators.fully_connected(X86, F16, 1280, 1000, 1).packed == usable_bytes(2_623_488, 64)


def test_batch_products_pack_the_right_side_into_the_workspace() -> None:
    # 12 heads of 197 x 64 by 64 x 197: 197 columns to 224, rows of 64 floats and a bias.
    assert operators.batch_matmul(X86, F32, 12, 64, 197).workspace == 12 * 224 * (64 * 4 + 4)


@pytest.mark.parametrize(
    ("gemm", "pixels", "rows"),
    [
        (Gemm((1, 7), 32), 49, 7),
        (Gemm((1, 7), 32), 1, 1),  # a kernel of just that many rows
        (Gemm((1, 4, 6), 8), 4, 4),
        (Gemm((1, 4, 6), 8), 49, 6),  # 9 tiles of 6 (90 each) against 13 of 4 (68 each): 810 < 884
        (Gemm((1, 4, 6), 8), 7, 4),  # 2 * 68 < 2 * 90
    ],
)
def test_rows_are_the_cheapest_of_the_kernels_there_are(gemm: Gemm, pixels: int, rows: int) -> None:
    assert gemm.rows_for(pixels) == rows


def test_int8_kernels_follow_the_core() -> None:
    assert A72.qs8_gemm == Gemm((1, 2), 8, 8)
    assert A53.qs8_gemm == Gemm((1, 4), 16)
    assert A76.qs8_gemm == Gemm((1, 4), 16, 4)
    assert tiles_for(Target(isa="armv9-a")).qs8_gemm == Gemm((1, 4), 16, 8)


@pytest.mark.parametrize(
    ("nbytes", "alignment", "usable"),
    [
        (1, 16, 24),
        (24, 16, 24),
        (25, 16, 40),
        (520, 64, 520),
        # Blocks seen in recorded runs: mapped by whole pages.
        (903_168, 16, 905_200),
        (306_432, 16, 307_184),
        (6_021_152, 64, 6_025_152),
    ],
)
def test_malloc_hands_out_what_was_recorded(nbytes: int, alignment: int, usable: int) -> None:
    assert usable_bytes(nbytes, alignment) == usable
