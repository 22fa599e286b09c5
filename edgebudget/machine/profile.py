"""A machine as the YAML of a device profile. Pure."""

import yaml

from edgebudget.machine.interface import Machine, Reading
from edgebudget.units import format_bytes

_SAFETY_MARGIN = "20%"
_SYSTEM_WORDS = {"linux": "Linux", "android": "Android", "macos": "macOS"}
_LONGEST_TEXT, _MOST_NOTES = 400, 32  # in the schema of profiles


def profile_text(machine: Machine, name: str) -> str:
    """Return the profile of `machine` as YAML, called `name`: each figure with where and when it was read, what was
    found but does not count (swap, zram, limits that do not decide, instruction sets) as notes."""
    limit = _deciding_limit(machine)
    figures: dict[str, Reading | None] = {
        "memory.ram": machine.ram,
        "memory.os_visible": machine.os_visible,
        "memory.idle_available": machine.available,
        "memory.process_limit": limit,
        "storage.capacity": machine.host.capacity,
        "storage.available_for_model": machine.host.free,
    }
    known = {field: reading for field, reading in figures.items() if reading is not None}
    sizes = {field: min(reading.nbytes, machine.ram.nbytes) for field, reading in known.items() if "memory" in field}
    sizes |= {field: reading.nbytes for field, reading in known.items() if "storage" in field}
    dtypes = _dtypes(machine)
    sources = [_source(field, _title(machine, field, reading), machine, reading) for field, reading in known.items()]
    flags = ", ".join(machine.cpu.features) or "none that matter here"
    stated = f"The processor's own flags: {flags}"
    sources += [_source(f"dtypes.{dtype}", stated, machine, None) for dtype in dtypes]
    data: dict[str, object] = {
        "schema_version": 1,
        "name": name,
        "display_name": machine.display_name[:_LONGEST_TEXT],
        "class": _device_class(machine),
        "memory": _below(sizes, "memory") | {"safety_margin": _SAFETY_MARGIN},
        "storage": _below(sizes, "storage"),
        "cpu": {
            "isa": machine.cpu.isa,
            "cores": list(machine.cpu.cores),
            "pointer_bits": machine.host.pointer_bits,
        },
        "dtypes": dtypes,
        "runtimes": {runtime: {} for runtime in ("executorch", "executorch-xnnpack", "onnxruntime", "pytorch")},
        "default_runtime": "pytorch" if _device_class(machine) == "pc" else "executorch-xnnpack",
        "sources": sources,
        "notes": [note[:_LONGEST_TEXT] for note in _notes(machine, limit)],
    }
    filled = {key: value for key, value in data.items() if value != {}}
    heading = f"# This machine as edgebudget read it on {machine.host.read_on}.\n"
    return heading + yaml.safe_dump(filled, sort_keys=False, allow_unicode=True, width=116)


def _deciding_limit(machine: Machine) -> Reading | None:
    """The smallest limit of one process, where it is below the RAM: a larger one bounds nothing."""
    smallest = min(machine.limits, key=lambda limit: limit.nbytes, default=None)
    return smallest if smallest is not None and smallest.nbytes < machine.ram.nbytes else None


def _below(sizes: dict[str, int], group: str) -> dict[str, object]:
    return {field.partition(".")[2]: nbytes for field, nbytes in sizes.items() if field.startswith(f"{group}.")}


def _dtypes(machine: Machine) -> dict[str, str]:
    """What the flags say beats what follows from the cores' names: this is the very processor."""
    said = {"float16": machine.cpu.computes_float16, "bfloat16": machine.cpu.computes_bfloat16}
    return {dtype: "native" if computes else "storage" for dtype, computes in said.items() if computes is not None}


def _title(machine: Machine, field: str, reading: Reading) -> str:
    if field == "memory.idle_available":
        return f"{reading.where}, at {machine.host.read_on} with all that ran then"
    return reading.where


def _source(field: str, title: str, machine: Machine, reading: Reading | None) -> dict[str, str]:
    estimated = reading is not None and reading.is_estimate
    return {
        "field": field,
        "title": ("Estimate: " if estimated else "Read on the machine itself: ") + title,
        "read_on": machine.host.read_on[:10],
        "confidence": "estimated" if estimated else "verified",
    }


def _device_class(machine: Machine) -> str:
    if machine.system == "android":
        return "phone"
    is_board = machine.system == "linux" and machine.cpu.isa != "x86-64"
    return "sbc" if is_board else "pc"


def _notes(machine: Machine, limit: Reading | None) -> list[str]:
    cpu = machine.cpu
    notes = [
        f"{_SYSTEM_WORDS[machine.system]}, {cpu.count} cores; instruction sets that runtimes choose by: "
        f"{', '.join(cpu.features) or 'not known'}.",
        "What is available is what was free while this was read; for what is free when idle, read an idle machine.",
    ]
    if cpu.unknown_parts:
        notes.append(f"Cores without a name here (implementer/part): {', '.join(cpu.unknown_parts)}.")
    for gpu in machine.gpus:
        own = f"{format_bytes(gpu.memory.nbytes)} of its own memory" if gpu.memory else "it shares the RAM"
        notes.append(f"CUDA device: {gpu.name}, {own}. The budget is of the RAM.")
    for word, nbytes in (("swap", machine.swap_bytes), ("swap in zram", machine.zram_bytes)):
        if nbytes:
            notes.append(f"There are {format_bytes(nbytes)} of {word}, which the budget does not count.")
    others = [other for other in machine.limits if other != limit]
    notes += [f"A limit that does not decide: {format_bytes(other.nbytes)}, {other.where}." for other in others]
    return notes[:_MOST_NOTES]
