"""Names of cores, instruction sets, and what follows from their flags. Pure.

Sources: for implementers and parts, Linux's arch/arm64/include/asm/cputype.h and arch/arm/include/asm/cputype.h, and
pytorch/cpuinfo's src/arm/uarch.c for which Arm design a Kryo core derives from; for flags, the hwcaps of
Documentation/arch/arm64/elf_hwcaps.rst and arch/x86/include/asm/cpufeatures.h.
"""

from collections.abc import Collection, Mapping

ARM, NVIDIA, QUALCOMM, SAMSUNG = "0x41", "0x4e", "0x51", "0x53"

CORE_OF_PART: Mapping[tuple[str, str], str] = {
    (ARM, "0xb76"): "arm1176jzf-s",
    (ARM, "0xc05"): "cortex-a5",
    (ARM, "0xc07"): "cortex-a7",
    (ARM, "0xc08"): "cortex-a8",
    (ARM, "0xc09"): "cortex-a9",
    (ARM, "0xc0e"): "cortex-a17",
    (ARM, "0xc0f"): "cortex-a15",
    (ARM, "0xd03"): "cortex-a53",
    (ARM, "0xd04"): "cortex-a35",
    (ARM, "0xd05"): "cortex-a55",
    (ARM, "0xd07"): "cortex-a57",
    (ARM, "0xd08"): "cortex-a72",
    (ARM, "0xd09"): "cortex-a73",
    (ARM, "0xd0a"): "cortex-a75",
    (ARM, "0xd0b"): "cortex-a76",
    (ARM, "0xd0c"): "neoverse-n1",
    (ARM, "0xd0d"): "cortex-a77",
    (ARM, "0xd0e"): "cortex-a76ae",
    (ARM, "0xd40"): "neoverse-v1",
    (ARM, "0xd41"): "cortex-a78",
    (ARM, "0xd42"): "cortex-a78ae",
    (ARM, "0xd44"): "cortex-x1",
    (ARM, "0xd46"): "cortex-a510",
    (ARM, "0xd47"): "cortex-a710",
    (ARM, "0xd48"): "cortex-x2",
    (ARM, "0xd49"): "neoverse-n2",
    (ARM, "0xd4b"): "cortex-a78c",
    (ARM, "0xd4c"): "cortex-x1c",
    (ARM, "0xd4d"): "cortex-a715",
    (ARM, "0xd4e"): "cortex-x3",
    (ARM, "0xd4f"): "neoverse-v2",
    (ARM, "0xd80"): "cortex-a520",
    (ARM, "0xd81"): "cortex-a720",
    (ARM, "0xd82"): "cortex-x4",
    (ARM, "0xd85"): "cortex-x925",
    (ARM, "0xd87"): "cortex-a725",
    (NVIDIA, "0x003"): "denver2",
    (NVIDIA, "0x004"): "carmel",
    (QUALCOMM, "0x001"): "oryon-1",
    (QUALCOMM, "0x800"): "cortex-a73",
    (QUALCOMM, "0x801"): "cortex-a53",
    (QUALCOMM, "0x802"): "cortex-a75",
    (QUALCOMM, "0x803"): "cortex-a55",
    (QUALCOMM, "0x804"): "cortex-a76",
    (QUALCOMM, "0x805"): "cortex-a55",
    (SAMSUNG, "0x003"): "exynos-m4",
    (SAMSUNG, "0x004"): "exynos-m5",
}

# What runtimes choose kernels by; the rest of the flags says nothing about memory.
FEATURES = frozenset({
    "sse4_1", "avx", "f16c", "fma", "avx2", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16",
    "avx512_fp16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16", "amx_fp16",
    "neon", "vfpv4", "asimd", "asimdhp", "asimddp", "fphp", "i8mm", "bf16", "sve", "sve2", "sme",
})  # fmt: skip

_FLOAT16 = frozenset({"asimdhp", "avx512_fp16", "amx_fp16"})
_BFLOAT16 = frozenset({"bf16", "avx512_bf16", "amx_bf16"})

_ARM64, _X86 = ("aarch64", "arm64", "armv8l"), ("x86_64", "amd64")


def isa_of(machine: str, pointer_bits: int, features: Collection[str]) -> str | None:
    """Return a profile's `cpu.isa` for what `uname -m` says, the pointers of this process and the processor's flags;
    None for a processor that no profile describes. A 32-bit process on a 64-bit Arm kernel is an Armv7-A device."""
    machine = machine.lower()
    if machine in _X86:
        return "x86-64" if pointer_bits == 64 else None
    if machine in _ARM64 and pointer_bits == 64:
        if "sve2" in features:
            return "armv9-a"
        return "armv8.2-a" if {"asimdhp", "asimddp"} & set(features) else "armv8-a"
    if machine in _ARM64 or machine.startswith("armv7"):
        return "armv7-a"
    if machine.startswith("armv6"):
        return "armv6"
    if machine == "riscv64":
        return "rv64gcv" if "v" in features else "rv64gc"
    return None


def computes(features: Collection[str], isa: str) -> tuple[bool | None, bool | None]:
    """Return whether the processor computes in float16 and in bfloat16, by its flags; None where they do not say."""
    if isa == "x86-64" or isa.startswith(("armv8", "armv9")):
        return bool(_FLOAT16 & set(features)), bool(_BFLOAT16 & set(features))
    return None, None
