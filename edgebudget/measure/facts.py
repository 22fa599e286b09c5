"""What a machine says about itself: the part of a measurement's provenance that is the machine's."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# What the kernels of XNNPACK, oneDNN and ONNX Runtime choose by: tile sizes, and with them padding, follow.
_FEATURES = frozenset({
    "sse4_1", "avx", "f16c", "fma", "avx2", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16",
    "avx_vnni", "amx_tile", "amx_int8", "amx_bf16",
    "neon", "asimd", "asimdhp", "asimddp", "fphp", "i8mm", "bf16", "sve", "sve2", "sme",
})  # fmt: skip
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_ISA = {"x86_64": "x86-64", "AMD64": "x86-64", "aarch64": "armv8-a", "arm64": "armv8-a", "armv7l": "armv7-a"}
_ARM_PARTS = {
    "0xd03": "cortex-a53", "0xd04": "cortex-a35", "0xd05": "cortex-a55", "0xd07": "cortex-a57", "0xd08": "cortex-a72",
    "0xd09": "cortex-a73", "0xd0a": "cortex-a75", "0xd0b": "cortex-a76", "0xd0c": "neoverse-n1", "0xd0d": "cortex-a77",
    "0xd41": "cortex-a78", "0xd42": "cortex-a78ae", "0xd46": "cortex-a510", "0xd47": "cortex-a710",
}  # fmt: skip
"""Parts of Arm's own cores, from Linux's arch/arm64/include/asm/cputype.h."""


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """A machine as its kernel describes it. `core` is empty where the processor is none of Arm's own cores.

    `kernel` tells of transparent huge pages: where they are `always` given out, a process is charged for up to 2 MiB
    more than it wrote to, once for each large block.
    """

    kernel: str
    machine: str
    libc: str
    python: str
    cpu: str
    core: str
    features: tuple[str, ...]
    ram_bytes: int

    @property
    def isa(self) -> str:
        """The instruction set as profiles name it."""
        known = _ISA.get(self.machine, self.machine)
        return "armv8.2-a" if known == "armv8-a" and "asimddp" in self.features else known


def this_machine() -> MachineFacts:
    """Return the facts of the machine that this runs on."""
    cpu, core, features = parse_cpuinfo(Path("/proc/cpuinfo").read_text())
    memory = Path("/proc/meminfo").read_text().split()
    huge_pages = _HUGE_PAGES.read_text() if _HUGE_PAGES.exists() else ""
    return MachineFacts(
        kernel=_kernel(f"{platform.system()} {platform.release()}", huge_pages),
        machine=platform.machine(),
        libc=" ".join(platform.libc_ver()),
        python=platform.python_version(),
        cpu=cpu,
        core=core,
        features=features,
        ram_bytes=int(memory[memory.index("MemTotal:") + 1]) * 1024,
    )


def parse_facts(text: str) -> MachineFacts:
    """Return what `boards/guest/facts.sh` printed on another machine."""
    fields = _fields(text)
    cpu, core, features = parse_cpuinfo(text)
    return MachineFacts(
        kernel=_kernel(fields["kernel"], fields.get("huge_pages", "")),
        machine=fields["machine"],
        libc=fields["libc"],
        python=fields["python"],
        cpu=cpu,
        core=core,
        features=features,
        ram_bytes=int(fields["ram_bytes"]),
    )


def _kernel(name: str, huge_pages: str) -> str:
    """`huge_pages` is what /sys has of them, `always [madvise] never`; empty where the kernel is made without."""
    _, _, chosen = huge_pages.partition("[")
    return f"{name}, transparent huge pages: {chosen.partition(']')[0] or 'none'}"


def parse_cpuinfo(text: str) -> tuple[str, str, tuple[str, ...]]:
    """Return a processor's name, its core where it is one of Arm's, and those of its features that layouts depend on.

    `text` is /proc/cpuinfo; the first processor speaks for all.
    """
    fields = _fields(text)
    features = set(fields.get("flags", fields.get("Features", "")).split())
    family = ", ".join(f"{key} {fields[key]}" for key in ("cpu family", "model", "CPU part") if key in fields)
    name = fields.get("model name", fields.get("CPU implementer", "unknown"))
    core = _ARM_PARTS.get(fields.get("CPU part", ""), "") if fields.get("CPU implementer") == "0x41" else ""
    return f"{name} ({family})" if family else name, core, tuple(sorted(features & _FEATURES))


def _fields(text: str) -> Mapping[str, str]:
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields
