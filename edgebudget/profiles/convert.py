"""A complete profile's data to the frozen `DeviceProfile`. Pure."""

from typing import cast

from edgebudget.profiles.cores import dtype_support
from edgebudget.profiles.interface import (
    Accelerator,
    AcceleratorMemory,
    Beyond,
    Confidence,
    Cpu,
    DeviceClass,
    DeviceProfile,
    DtypeSupport,
    Holds,
    Memory,
    MemoryRegion,
    RegionSpeed,
    Source,
    StorageSpace,
)
from edgebudget.profiles.parse import Value
from edgebudget.target import Gpu, WeightsIn
from edgebudget.units import parse_binary_size, parse_percent, parse_storage_size


def to_profile(data: dict[str, Value]) -> DeviceProfile:
    """Return the profile that `data`, merged and held to the schema, stands for.

    Raises KeyError, TypeError or ValueError for data that the schema would have refused.
    """
    cpu = _cpu(_mapping(data["cpu"]))
    runtimes = {
        name: _size(_mapping(runtime), "overhead") for name, runtime in _mapping(data.get("runtimes", {})).items()
    }
    default_runtime = _text(data["default_runtime"])
    stated = cast(dict[str, DtypeSupport], _mapping(data.get("dtypes", {})))
    return DeviceProfile(
        name=_text(data["name"]),
        aliases=tuple(_text(alias) for alias in _list(data.get("aliases", []))),
        display_name=_text(data["display_name"]),
        device_class=cast(DeviceClass, data["class"]),
        memory=_memory(_mapping(data["memory"])),
        storage=_storage(_mapping(data.get("storage", {}))),
        cpu=cpu,
        dtypes={**dtype_support(cpu.isa, cpu.cores), **stated},
        runtimes={default_runtime: None, **runtimes},
        default_runtime=default_runtime,
        sources=tuple(_source(_mapping(source)) for source in _list(data.get("sources", []))),
        notes=tuple(_text(note) for note in _list(data.get("notes", []))),
        gpu=cast(Gpu | None, data.get("gpu")),
        accelerators=tuple(_accelerator(_mapping(each)) for each in _list(data.get("accelerators", []))),
    )


def _memory(data: dict[str, Value]) -> Memory:
    regions = [_mapping(region) for region in _list(data.get("regions", []))]
    if "idle_available" not in data and "process_limit" not in data:
        raise KeyError("idle_available")
    return Memory(
        ram_bytes=parse_binary_size(data["ram"]),
        os_visible_bytes=_size(data, "os_visible"),
        idle_available_bytes=_size(data, "idle_available"),
        process_limit_bytes=_size(data, "process_limit"),
        safety_margin_percent=parse_percent(data["safety_margin"]),
        weights_in=cast(WeightsIn, data.get("weights_in", "ram")),
        regions=tuple(
            MemoryRegion(
                _text(region["name"]),
                parse_binary_size(region["size"]),
                cast(RegionSpeed, region.get("speed", "fast")),
            )
            for region in regions
        ),
    )


def _storage(data: dict[str, Value]) -> StorageSpace:
    def size(key: str) -> int | None:
        return parse_storage_size(data[key]) if key in data else None

    return StorageSpace(capacity_bytes=size("capacity"), available_for_model_bytes=size("available_for_model"))


def _accelerator(data: dict[str, Value]) -> Accelerator:
    memories = [_mapping(memory) for memory in _list(data.get("memories", []))]
    return Accelerator(
        name=_text(data["name"]),
        dtypes=tuple(_text(dtype) for dtype in _list(data.get("dtypes", []))),
        memories=tuple(
            AcceleratorMemory(
                _text(memory["name"]),
                parse_binary_size(memory["size"]),
                cast(Holds, memory["holds"]),
                cast(Beyond, memory.get("beyond", "ram")),
            )
            for memory in memories
        ),
        mode=_text(data["mode"]) if "mode" in data else None,
    )


def _cpu(data: dict[str, Value]) -> Cpu:
    cores = tuple(_text(core) for core in _list(data.get("cores", [])))
    return Cpu(isa=_text(data["isa"]), cores=cores, pointer_bits=cast(int, data["pointer_bits"]))


def _source(data: dict[str, Value]) -> Source:
    confidence = cast(Confidence, data["confidence"])
    return Source(_text(data["field"]), _text(data["title"]), _text(data["read_on"]), confidence)


def _size(data: dict[str, Value], key: str) -> int | None:
    return parse_binary_size(data[key]) if key in data else None


def _mapping(value: Value) -> dict[str, Value]:
    if not isinstance(value, dict):
        raise TypeError("not a mapping")
    return value


def _list(value: Value) -> list[Value]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


def _text(value: Value) -> str:
    if not isinstance(value, str):
        raise TypeError("not text")
    return value
