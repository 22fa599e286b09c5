"""Which arithmetic a core has, and the dtype support that follows from it.

A profile names its cores; what it does not state under `dtypes` is derived here: `native` where the core computes in
the type, `storage` where it can only hold and convert it, `emulated` where even that is done in software. On mixed
cores a process may be moved to any of them, so only what all have counts.

Sources: for AArch64, LLVM's AArch64Processors.td and the detection of instruction sets in pytorch/cpuinfo; for
Cortex-M, LLVM's ARMProcessors.td and the cores' technical reference manuals; for Xtensa, Espressif's data sheets; for
RISC-V, LLVM's RISCVProcessors.td.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgebudget.profiles.interface import DtypeSupport


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """What a core computes in hardware: floating point at all, half precision, 8-bit dot products and matrix products,
    bfloat16, and vectors of floats."""

    floating_point: bool = True
    vector_float: bool = True
    fp16: bool = False
    dotprod: bool = False
    i8mm: bool = False
    bf16: bool = False


_NEON = Arithmetic()
_FP16 = Arithmetic(fp16=True)
_FP16_DOT = Arithmetic(fp16=True, dotprod=True)
_ARMV86 = Arithmetic(fp16=True, dotprod=True, i8mm=True, bf16=True)
_SCALAR_FLOAT = Arithmetic(vector_float=False)
_INTEGER_ONLY = Arithmetic(floating_point=False, vector_float=False)
_HELIUM = Arithmetic(fp16=True)

CORES: Mapping[str, Arithmetic] = {
    # Armv7-A and 64-bit cores before half-precision arithmetic (Armv8.0-A).
    **dict.fromkeys(
        ("cortex-a5", "cortex-a7", "cortex-a8", "cortex-a9", "cortex-a15", "cortex-a17", "cortex-a35", "cortex-a53",
         "cortex-a57", "cortex-a72", "cortex-a73", "denver2"),
        _NEON,
    ),
    "arm1176jzf-s": _SCALAR_FLOAT,
    # Armv8.2-A with half precision, without dot products.
    **dict.fromkeys(("carmel", "apple-a11", "apple-a12"), _FP16),
    # Armv8.2-A and later with half precision and dot products.
    **dict.fromkeys(
        ("cortex-a55", "cortex-a75", "cortex-a76", "cortex-a76ae", "cortex-a77", "cortex-a78", "cortex-a78ae",
         "cortex-a78c", "cortex-x1", "cortex-x1c", "neoverse-n1", "exynos-m4", "exynos-m5",
         "apple-a13", "apple-a14", "apple-m1"),
        _FP16_DOT,
    ),
    # Armv8.6-A and Armv9-A: 8-bit matrix products and bfloat16 as well.
    **dict.fromkeys(
        ("cortex-a510", "cortex-a520", "cortex-a710", "cortex-a715", "cortex-a720", "cortex-a725", "cortex-x2",
         "cortex-x3", "cortex-x4", "cortex-x925", "neoverse-v1", "neoverse-n2", "neoverse-v2", "apple-a15",
         "apple-a16", "apple-a17", "apple-a18", "apple-a19", "apple-m2", "apple-m3", "apple-m4", "oryon-1"),
        _ARMV86,
    ),
    # Microcontrollers.
    **dict.fromkeys(("cortex-m0", "cortex-m0+", "cortex-m3", "cortex-m4", "cortex-m23", "hazard3"), _INTEGER_ONLY),
    **dict.fromkeys(("cortex-m4f", "cortex-m7", "cortex-m33"), _SCALAR_FLOAT),
    **dict.fromkeys(("cortex-m55", "cortex-m85"), _HELIUM),
    **dict.fromkeys(("xtensa-lx6", "xtensa-lx7"), _SCALAR_FLOAT),
    # RISC-V application cores without, and with, the vector extension 1.0.
    **dict.fromkeys(("kendryte-k210", "sifive-u74", "sifive-p550"), _SCALAR_FLOAT),
    **dict.fromkeys(("thead-c906", "thead-c910"), _SCALAR_FLOAT),
    "spacemit-x60": _FP16,
}  # fmt: skip

_RANK: tuple[DtypeSupport, ...] = ("native", "storage", "emulated", "unsupported")

# What an instruction set promises when the cores are not known, or not in the table.
_WITHOUT_FLOAT = ("armv6-m", "armv7-m", "armv8-m", "rv32imac")
_SCALAR_ONLY = ("armv6", "armv7e-m", "armv8.1-m", "rv32imafc", "rv64gc", "xtensa-lx6", "xtensa-lx7")


def dtype_support(isa: str, cores: Sequence[str]) -> dict[str, DtypeSupport]:
    """Return the support for each element type on a processor: what all `cores` have.

    A core that is not in the table counts for no more than its instruction set promises.
    """
    each = [_support(CORES.get(core, _baseline(isa))) for core in cores] or [_support(_baseline(isa))]
    return {dtype: max((support[dtype] for support in each), key=_RANK.index) for dtype in each[0]}


def unknown_cores(cores: Sequence[str]) -> list[str]:
    """Return those of `cores` that the table does not have."""
    return [core for core in cores if core not in CORES]


def _baseline(isa: str) -> Arithmetic:
    if isa in _WITHOUT_FLOAT:
        return _INTEGER_ONLY
    return _SCALAR_FLOAT if isa in _SCALAR_ONLY else _NEON


def _support(has: Arithmetic) -> dict[str, DtypeSupport]:
    held: DtypeSupport = "storage" if has.floating_point else "emulated"
    return {
        "float32": "native" if has.floating_point else "emulated",
        "float16": "native" if has.fp16 else held,
        "bfloat16": "native" if has.bf16 else held,
        "int8": "native",
        "int4": "storage",  # no core here has 4-bit arithmetic: values are widened to 8 bits
    }
