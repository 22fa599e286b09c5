"""A Mac, from what `sysctl` and `vm_stat` print. Pure, over whatever runs the commands."""

import re

from edgebudget.errors import UsageError
from edgebudget.machine.interface import Cpu, Host, Machine, Reading, RunCommand
from edgebudget.machine.processors import isa_of

_SYSCTL = (
    "hw.memsize", "hw.model", "hw.ncpu", "machdep.cpu.brand_string", "vm.swapusage",
    "hw.optional.arm.FEAT_FP16", "hw.optional.arm.FEAT_BF16", "hw.optional.arm.FEAT_DotProd",
    "hw.optional.arm.FEAT_I8MM", "hw.optional.avx2_0", "hw.optional.avx512f",
)  # fmt: skip
_FEATURE_NAMES = {"FEAT_FP16": "asimdhp", "FEAT_BF16": "bf16", "FEAT_DotProd": "asimddp", "FEAT_I8MM": "i8mm",
                  "avx2_0": "avx2", "avx512f": "avx512f"}  # fmt: skip
_PAGE = re.compile(r"page size of (\d+) bytes")
_COUNT = re.compile(r"\"?([^:\"]+)\"?:\s+(\d+)\.?\s*\Z")
_CHIP = re.compile(r"Apple (M\d+)")
_SWAP = re.compile(r"total = ([0-9.]+)M")


def read_macos(run: RunCommand, host: Host) -> Machine:
    """Return the machine that `run` shows; raises UsageError where it does not show its memory."""
    values = parse_sysctl(run(("sysctl", *_SYSCTL)) or "")
    available_bytes = parse_vm_stat(run(("vm_stat",)) or "")
    if not values.get("hw.memsize", "").isdigit() or available_bytes is None:
        raise UsageError("sysctl hw.memsize and vm_stat do not tell this machine's memory.")
    ram = Reading(int(values["hw.memsize"]), "sysctl hw.memsize")
    brand = values.get("machdep.cpu.brand_string", "")
    swap = _SWAP.search(values.get("vm.swapusage", ""))
    return Machine(
        system="macos",
        display_name=" ".join(filter(None, (values.get("hw.model"), f"({brand})" if brand else ""))) or "This Mac",
        host=host,
        cpu=_cpu(values, brand, host),
        ram=ram,
        os_visible=None,
        available=Reading(available_bytes, "vm_stat, (free + speculative + inactive pages) x page size"),
        limits=host.limits,
        swap_bytes=round(float(swap[1]) * 2**20) if swap else 0,
        zram_bytes=0,
        gpus=(),
    )


def parse_sysctl(text: str) -> dict[str, str]:
    """Return what `sysctl NAME...` prints, by name."""
    rows = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, colon, value in rows if colon}


def parse_vm_stat(text: str) -> int | None:
    """Return the bytes that a process could have: free, read ahead but unused, or inactive pages; None for what is not
    the output of `vm_stat`."""
    page = _PAGE.search(text)
    matches = (_COUNT.match(line.strip()) for line in text.splitlines())
    counts = {match[1].strip(): int(match[2]) for match in matches if match}
    if page is None or "Pages free" not in counts:
        return None
    pages = sum(counts.get(f"Pages {kind}", 0) for kind in ("free", "speculative", "inactive"))
    return pages * int(page[1])


def _cpu(values: dict[str, str], brand: str, host: Host) -> Cpu:
    stated = {key.rpartition(".")[2]: value for key, value in values.items() if key.startswith("hw.optional.")}
    features = tuple(sorted(name for key, name in _FEATURE_NAMES.items() if stated.get(key) == "1"))
    isa = isa_of(host.machine, host.pointer_bits, features)
    if isa is None:
        raise UsageError(f"A processor of the kind {host.machine!r} is in no profile.")
    chip = _CHIP.search(brand)
    is_arm = isa != "x86-64"
    count = values.get("hw.ncpu", "")
    return Cpu(
        isa=isa,
        cores=(f"apple-{chip[1].lower()}",) if chip else (),
        count=int(count) if count.isdigit() else 1,
        features=features,
        computes_float16=stated["FEAT_FP16"] == "1" if is_arm and "FEAT_FP16" in stated else None,
        computes_bfloat16=stated["FEAT_BF16"] == "1" if is_arm and "FEAT_BF16" in stated else None,
    )
