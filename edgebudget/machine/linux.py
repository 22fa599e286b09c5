"""A Linux machine, Android's included, from its /proc and /sys: pure, over whatever gives the files' text."""

import re
from collections.abc import Mapping, Sequence

from edgebudget.errors import UsageError
from edgebudget.machine.cgroups import cgroup_limits
from edgebudget.machine.gpus import integrated_gpus, nvidia_smi_gpus
from edgebudget.machine.interface import Cpu, Host, Machine, Reading, ReadText, RunCommand, System
from edgebudget.machine.processors import CORE_OF_PART, FEATURES, computes, isa_of

_SIZE = re.compile(r"(\S[^:]*):\s+(\d+)(?: kB)?\s*\Z")


def read_linux(read: ReadText, run: RunCommand, host: Host, system: System) -> Machine:
    """Return the machine that `read` and `run` show; raises UsageError where they do not show its memory."""
    text = read("/proc/meminfo")
    meminfo = parse_meminfo(text or "")
    if "MemTotal" not in meminfo:
        raise UsageError("/proc/meminfo cannot be read or has no MemTotal, so this machine's memory is not known.")
    total_bytes = meminfo["MemTotal"]
    limits, left = cgroup_limits(read)
    available = min([available_memory(meminfo), *left], key=lambda reading: reading.nbytes)
    ceiling = [_android_ceiling(total_bytes)] if system == "android" else []
    swap_bytes, zram_bytes = parse_swaps(read("/proc/swaps") or "", meminfo)
    cpu = parse_cpuinfo(read("/proc/cpuinfo") or "", host.machine, host.pointer_bits)
    gpus = nvidia_smi_gpus(run(NVIDIA_SMI)) if system == "linux" else ()
    return Machine(
        system=system,
        display_name=_display_name(read, run, host, system),
        host=host,
        cpu=cpu,
        ram=Reading(total_bytes, "/proc/meminfo, MemTotal: what Linux counts, somewhat less than is built in"),
        os_visible=Reading(total_bytes, "/proc/meminfo, MemTotal"),
        available=available,
        limits=(*limits, *host.limits, *ceiling),
        swap_bytes=swap_bytes,
        zram_bytes=zram_bytes,
        gpus=gpus or integrated_gpus(read),
    )


NVIDIA_SMI = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")


def parse_meminfo(text: str) -> dict[str, int]:
    """Return the sizes of /proc/meminfo in bytes, by their names; lines of another form are left out."""
    matches = (_SIZE.match(line.strip()) for line in text.splitlines())
    return {match[1]: int(match[2]) * 1024 for match in matches if match}


def available_memory(meminfo: Mapping[str, int]) -> Reading:
    """Return what can be had without swapping: the kernel's own figure, or for kernels before 3.14, which have none,
    what is free or caches files."""
    if "MemAvailable" in meminfo:
        return Reading(meminfo["MemAvailable"], "/proc/meminfo, MemAvailable")
    parts = ("MemFree", "Buffers", "Cached")
    where = "/proc/meminfo, MemFree + Buffers + Cached, as there is no MemAvailable"
    return Reading(sum(meminfo.get(part, 0) for part in parts), where, is_estimate=True)


def parse_swaps(text: str, meminfo: Mapping[str, int]) -> tuple[int, int]:
    """Return the swap outside of zram and in zram, in bytes, from /proc/swaps; where that cannot be read, as in Termux,
    no more than meminfo's SwapTotal is known, and is given as the former."""
    rows = [line.split() for line in text.splitlines()[1:]]
    sizes = [(row[0], int(row[2]) * 1024) for row in rows if len(row) >= 3 and row[2].isdigit()]
    zram_bytes = sum(nbytes for name, nbytes in sizes if "zram" in name)
    disk_bytes = sum(nbytes for name, nbytes in sizes if "zram" not in name)
    return (disk_bytes, zram_bytes) if sizes else (meminfo.get("SwapTotal", 0), 0)


def parse_cpuinfo(text: str, machine: str, pointer_bits: int) -> Cpu:
    """Return the processor that /proc/cpuinfo describes; raises UsageError for one that no profile describes.

    Mixed cores are named in the order of their first appearance, with the flags that all of them have.
    """
    fields = [_field(line) for line in text.splitlines() if ":" in line]
    flags = [set(value.split()) for key, value in fields if key in ("flags", "features")]
    isa_strings = [value for key, value in fields if key == "isa"]
    common = set.intersection(*flags) if flags else set()
    if isa_strings and all("v" in value.split("_")[0].removeprefix("rv64") for value in isa_strings):
        common.add("v")
    isa = isa_of(machine, pointer_bits, common)
    if isa is None:
        raise UsageError(f"A processor of the kind {machine!r}, {pointer_bits}-bit, is in no profile.")
    parts = _parts(fields)
    float16, bfloat16 = computes(common, isa)
    return Cpu(
        isa=isa,
        cores=tuple(dict.fromkeys(CORE_OF_PART[part] for part in parts if part in CORE_OF_PART)),
        count=sum(key == "processor" and value.isdigit() for key, value in fields) or 1,
        features=tuple(sorted(common & FEATURES)),
        computes_float16=float16 if flags else None,
        computes_bfloat16=bfloat16 if flags else None,
        unknown_parts=tuple("/".join(part) for part in parts if part not in CORE_OF_PART),
    )


def _field(line: str) -> tuple[str, str]:
    key, _, value = line.partition(":")
    return key.strip().lower(), value.strip()


def _parts(fields: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return each (implementer, part) once, in order."""
    implementer = ""
    found: dict[tuple[str, str], None] = {}
    for key, value in fields:
        if key == "cpu implementer":
            implementer = value.lower()
        elif key == "cpu part":
            found[implementer, value.lower()] = None
    return list(found)


def _android_ceiling(total_bytes: int) -> Reading:
    """Android bounds no process: the low-memory killer acts on pressure. PocketPal, an app that loads language models,
    takes min(0.6 RAM, RAM - 1.2 GB) for the most that works (src/hooks/useMemoryCheck.ts)."""
    ceiling_bytes = max(min(total_bytes * 6 // 10, total_bytes - 1_200_000_000), 0)
    where = "Android sets no limit; rule of practice: min(0.6 RAM, RAM - 1.2 GB), as the app PocketPal has it"
    return Reading(ceiling_bytes, where, is_estimate=True)


def _display_name(read: ReadText, run: RunCommand, host: Host, system: System) -> str:
    if system == "android":
        props = [run(("getprop", name)) for name in ("ro.product.manufacturer", "ro.product.model")]
        return " ".join(prop.strip() for prop in props if prop and prop.strip()) or "This Android device"
    for path in ("/proc/device-tree/model", "/sys/firmware/devicetree/base/model"):
        if name := (read(path) or "").strip("\0\n "):
            return name
    vendor, product = (
        (read(f"/sys/devices/virtual/dmi/id/{field}") or "").strip() for field in ("sys_vendor", "product_name")
    )
    return f"{vendor} {product}".strip() or f"This Linux machine ({host.machine})"
