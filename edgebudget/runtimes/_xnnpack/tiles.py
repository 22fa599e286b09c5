"""Micro-kernel tile sizes by instruction set: what packed weights and indirection buffers are padded to.

Read in XNNPACK's src/configs: gemm-config.c and dwconv-config.c, and src/xnnpack/common.h for the
alignment. The function and the branch a figure comes from stand beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgebudget.target import Target


@dataclass(frozen=True, slots=True)
class Gemm:
    """A matrix kernel: `mr` x `nr` outputs at a time, `kr` inputs per step, shuffled over `sr` steps.

    `mrs` are the row counts there are igemm kernels for; XNNPACK takes the cheapest (xnn_get_heuristic_mr_igemm).
    """

    mrs: tuple[int, ...]
    nr: int
    kr: int = 1
    sr: int = 1

    @property
    def mr(self) -> int:
        return self.mrs[-1]

    def rows_for(self, outputs: int) -> int:
        """Return the row tile for `outputs` output pixels: operator-utils.c, xnn_get_heuristic_mr_igemm."""
        if outputs in self.mrs:
            return outputs
        return min(reversed(self.mrs), key=lambda mr: -(-outputs // mr) * (3 * (mr + self.nr) + mr * self.nr))


@dataclass(frozen=True, slots=True)
class Tiles:
    """The kernels of one instruction set. `*_dwconv` map a primary tile (taps) to its channel tile.

    `alignment` is XNN_ALLOCATION_ALIGNMENT; `f16` is None where the processor has no half-precision arithmetic.
    `kernel_rows` (XNN_MAX_MR) and `core_kinds` (XNN_MAX_UARCH_TYPES) are how many kernels an operator has room to name.
    """

    alignment: int
    pointer_bytes: int
    f32_gemm: Gemm
    f32_narrow: Gemm  # f32_gemm_nr2: few output channels
    f32_igemm: Gemm
    narrow_has_igemm: bool
    f32_dwconv: Mapping[int, int]
    qs8_gemm: Gemm
    qs8_dwconv: Mapping[int, int]
    qb4_gemm: Gemm  # 4-bit weights
    qd8_gemm: Gemm | None = None  # int8 weights, activations quantized as they come; None where they are as qs8_gemm
    qd8_igemm: Gemm | None = None
    f16_gemm: Gemm | None = None
    f16_dwconv: Mapping[int, int] | None = None
    kernel_rows: int = 16
    core_kinds: int = 1


_X86_AVX512 = Tiles(
    alignment=64,  # common.h: XNN_ARCH_X86 || XNN_ARCH_X86_64
    pointer_bytes=8,
    f32_gemm=Gemm((1, 7), 32),  # init_f32_gemm_config_impl, avx512f
    f32_narrow=Gemm((1, 7), 16),  # init_f32_gemm_nr2_config_impl, avx512f
    f32_igemm=Gemm((1, 7), 32),  # init_f32_igemm_config, avx512f
    narrow_has_igemm=True,
    f32_dwconv={3: 16, 4: 16, 9: 16, 25: 16},  # init_f32_dwconv_config, avx512f
    qs8_gemm=Gemm((1, 7), 16, 8),  # init_qs8_qc8w_gemm_config, avx512vnni and avx512skx alike
    qs8_dwconv={3: 32, 9: 32, 25: 32},  # init_qs8_qc8w_dwconv_config, avx512skx
    qb4_gemm=Gemm((1, 8), 16, 8),  # init_qdu8_f32_qb4w_gemm_config, avx512vnni
    qd8_gemm=Gemm((1, 5), 64, 4),  # init_qdu8_f32_qc8w_gemm_config, avx512vnni, assembly
    qd8_igemm=Gemm((1, 10), 16, 8),  # init_qdu8_f32_qc8w_igemm_config, avx512vnni
    f16_gemm=Gemm((1, 4), 32),  # init_f16_gemm_config, avx512skx
    f16_dwconv={3: 16, 4: 16, 9: 16, 25: 8},  # init_f16_dwconv_config, fma3
)
_X86_AVX2 = replace(
    _X86_AVX512,
    f32_gemm=Gemm((1, 6), 16),  # fma3, assembly
    f32_narrow=Gemm((1, 10), 8),  # fma3
    f32_igemm=Gemm((1, 5), 16),  # fma3
    qs8_gemm=Gemm((1, 3), 8, 8),  # avx2
    qb4_gemm=Gemm((1, 3), 8, 8),  # init_qd8_f32_qb4w_gemm_config, avx2
    qd8_gemm=Gemm((1, 4), 8, 8),  # init_qd8_f32_qc8w_gemm_config, avx2
    qd8_igemm=Gemm((1, 4), 8, 8),
    qs8_dwconv={3: 16, 9: 16, 25: 16},  # avx2
    f16_gemm=Gemm((1, 4), 16),  # avx2
)
_X86_SSE = replace(
    _X86_AVX512,
    f32_gemm=Gemm((1, 4), 8),  # sse2
    f32_narrow=Gemm((4,), 2, 4),  # sse2: 4x2c4
    f32_igemm=Gemm((1, 4), 8),
    f32_dwconv={3: 8, 4: 8, 9: 8, 25: 8},
    qs8_gemm=Gemm((1, 3), 4, 8),  # sse4.1, sse2
    qs8_dwconv={3: 8, 9: 8, 25: 8},
    qb4_gemm=Gemm((1, 3), 4, 8),  # sse4.1
    qd8_gemm=Gemm((1, 4), 4, 8),  # sse4.1
    qd8_igemm=Gemm((1, 4), 4, 8),
    f16_gemm=None,
    f16_dwconv=None,
)

_ARM64 = Tiles(
    alignment=16,  # common.h: every other architecture
    pointer_bytes=8,
    f32_gemm=Gemm((1, 7), 8),  # init_f32_gemm_config_impl, ARM64, default
    f32_narrow=Gemm((4,), 2),  # ARM64: 4x2
    f32_igemm=Gemm((1, 4, 6), 8),  # init_f32_igemm_config, ARM64, default
    narrow_has_igemm=True,
    f32_dwconv={3: 8, 4: 8, 9: 8, 25: 8},  # init_f32_dwconv_config, ARM64
    qs8_gemm=Gemm((1, 2), 8, 8),  # init_qs8_qc8w_gemm_config, ARM64 without dot products: 2x8c8
    qs8_dwconv={3: 16, 9: 16, 25: 16},  # init_qs8_qc8w_dwconv_config, ARM64
    qb4_gemm=Gemm((1, 6), 16),  # init_qd8_f32_qb4w_gemm_config, ARM64 without dot products
    kernel_rows=32,  # microfnptr.h: ARM64 with KleidiAI, which the wheel is built with
    core_kinds=3,  # common.h: Arm but for iOS
)
_DOT = Gemm((1, 4), 16, 4)  # 4x16c4 neondot
_I8MM = Gemm((1, 4), 16, 8)  # 4x16c8 neoni8mm
_A53 = replace(_ARM64, f32_gemm=Gemm((1, 4, 6), 8), f32_dwconv={3: 8, 4: 8, 9: 4, 25: 8}, qs8_gemm=Gemm((1, 4), 16))
_A72 = replace(_ARM64, f32_gemm=Gemm((1, 4), 8), f32_igemm=Gemm((1, 4), 8))
_A73 = replace(_ARM64, f32_gemm=Gemm((1, 6), 8), f32_igemm=Gemm((1, 6), 8))
_F16 = Gemm((1, 6), 16)  # init_f16_gemm_config, ARM64 with fp16 arithmetic
_F16_DWCONV = {3: 16, 4: 16, 9: 16, 25: 8}  # init_f16_dwconv_config, ARM64
_ARM64_DOT = replace(_ARM64, qs8_gemm=_DOT, qb4_gemm=_DOT, f16_gemm=_F16, f16_dwconv=_F16_DWCONV)
_ARM64_I8MM = replace(_ARM64_DOT, qs8_gemm=_I8MM, qb4_gemm=_I8MM)
_A76 = replace(_ARM64_DOT, f32_gemm=Gemm((1, 4, 6), 8))

_ARM32 = Tiles(
    alignment=16,
    pointer_bytes=4,
    f32_gemm=Gemm((1, 4), 8),  # XNN_ARCH_ARM, neon
    f32_narrow=Gemm((4,), 2),
    f32_igemm=Gemm((1, 4), 8),
    narrow_has_igemm=True,
    f32_dwconv={3: 8, 4: 8, 9: 8, 25: 8},
    qs8_gemm=Gemm((1, 4), 8),  # XNN_ARCH_ARM, neon, assembly: 4x8
    qs8_dwconv={3: 16, 9: 16, 25: 8},
    qb4_gemm=Gemm((1, 6), 16),  # XNN_ARCH_ARM, neon
    core_kinds=3,
)

# The core whose kernels XNNPACK takes: it asks cpuinfo for the first core's micro-architecture (XNN_UARCH_INDEX).
_BY_CORE: Mapping[str, Tiles] = {
    "cortex-a35": replace(_ARM64, f32_gemm=Gemm((1, 4, 6), 8), qs8_gemm=Gemm((1, 4), 16)),
    "cortex-a53": _A53,
    "cortex-a55": replace(_A53, qs8_gemm=_DOT, qb4_gemm=_DOT, f16_gemm=_F16, f16_dwconv=_F16_DWCONV),
    "cortex-a57": replace(_ARM64, f32_gemm=Gemm((1, 4, 6), 8)),
    "cortex-a72": _A72,
    "cortex-a73": _A73,
    "cortex-a75": _A76,
    "cortex-a76": _A76,
    "cortex-a77": replace(_A76, f32_gemm=Gemm((1, 4), 8), f32_igemm=Gemm((1, 4), 8)),
    "cortex-a78": _ARM64_DOT,
    "cortex-x1": _ARM64_DOT,
    "cortex-a510": _ARM64_I8MM,
    "cortex-a520": _ARM64_I8MM,
    "cortex-a710": _ARM64_I8MM,
    "cortex-a715": _ARM64_I8MM,
    "cortex-a720": _ARM64_I8MM,
    "cortex-x2": _ARM64_I8MM,
    "cortex-x3": replace(_ARM64_I8MM, f32_gemm=Gemm((1, 8), 8), f32_igemm=Gemm((1, 6), 8)),
    "cortex-x4": replace(_ARM64_I8MM, f32_gemm=Gemm((1, 4), 16), f32_igemm=Gemm((1, 4), 16)),
}


def tiles_for(target: Target) -> Tiles:
    """Return the kernels XNNPACK takes on `target`.

    Plain `x86-64` is taken for a machine with AVX-512 (`x86-64-v4`); `x86-64-v3` for AVX2, `v1` and `v2` for SSE. An
    Arm core that is not known gets what XNNPACK's `default` branch has for its architecture level.
    """
    if target.is_x86:
        if target.isa.endswith("v3"):
            return _X86_AVX2
        return _X86_SSE if target.isa.endswith(("v1", "v2")) else _X86_AVX512
    if target.pointer_bits == 32:
        return _ARM32
    for core in target.cores:
        if core in _BY_CORE:
            return _BY_CORE[core]
    if target.isa.startswith("armv9"):
        return _ARM64_I8MM
    return _ARM64_DOT if target.isa.startswith(("armv8.2", "armv8.4", "armv8.6")) else _ARM64
