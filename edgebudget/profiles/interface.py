"""A device as the package sees it: frozen, in whole bytes, every figure with a source."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgebudget.target import Gpu, Target, WeightsIn

DeviceClass = Literal["sbc", "phone", "tablet", "mcu", "accelerator", "pc"]
DtypeSupport = Literal["native", "emulated", "storage", "unsupported"]
Confidence = Literal["verified", "likely", "estimated"]
RegionSpeed = Literal["fast", "slow"]


@dataclass(frozen=True, slots=True)
class MemoryRegion:
    """A contiguous block of RAM. `slow` is memory behind an external bus, such as PSRAM or SDRAM."""

    name: str
    size_bytes: int
    speed: RegionSpeed = "fast"


@dataclass(frozen=True, slots=True)
class Memory:
    """RAM, from what the data sheet says down to what one process may have; None where nobody has measured it.

    `regions` is empty where the RAM is one block; otherwise an arena has to fit into one of them.
    """

    ram_bytes: int
    os_visible_bytes: int | None
    idle_available_bytes: int | None
    process_limit_bytes: int | None
    safety_margin_percent: float
    weights_in: WeightsIn = "ram"
    regions: tuple[MemoryRegion, ...] = ()

    @property
    def largest_region_bytes(self) -> int | None:
        """The largest block an arena can take in one piece; None where the RAM is not split."""
        return max((region.size_bytes for region in self.regions), default=None)


@dataclass(frozen=True, slots=True)
class StorageSpace:
    """Flash, card or disk: in all, and what a model file may take."""

    capacity_bytes: int | None
    available_for_model_bytes: int | None


@dataclass(frozen=True, slots=True)
class Cpu:
    isa: str
    cores: tuple[str, ...]
    pointer_bits: int


@dataclass(frozen=True, slots=True)
class Source:
    """Where a figure was read. `field` is a dotted path in the YAML, e.g. `memory.ram`."""

    field: str
    title: str
    read_on: str
    confidence: Confidence


@dataclass(frozen=True)
class DeviceProfile:
    """One device. `runtimes` maps a runtime to its overhead in bytes, None where the runtime's own figure holds."""

    name: str
    aliases: tuple[str, ...]
    display_name: str
    device_class: DeviceClass
    memory: Memory
    storage: StorageSpace
    cpu: Cpu
    dtypes: Mapping[str, DtypeSupport]
    runtimes: Mapping[str, int | None]
    default_runtime: str
    sources: tuple[Source, ...]
    notes: tuple[str, ...] = ()
    gpu: Gpu | None = None

    @property
    def budget_bytes(self) -> int:
        """The smaller of `process_limit` and `idle_available`, less the safety margin, rounded down to a byte."""
        limits = (self.memory.process_limit_bytes, self.memory.idle_available_bytes)
        known = [limit for limit in limits if limit is not None]
        return int(min(known) * (100 - self.memory.safety_margin_percent) / 100)

    @property
    def target(self) -> Target:
        """What the runtimes need to know of the device."""
        return Target(self.cpu.isa, self.cpu.pointer_bits, self.cpu.cores, self.memory.weights_in, self.gpu)

    def sources_of(self, field: str) -> tuple[Source, ...]:
        """The sources of one figure, by its dotted path in the YAML."""
        return tuple(source for source in self.sources if source.field == field)

    def estimated_fields(self) -> tuple[str, ...]:
        """The figures behind the budget and the storage limit that nobody has read anywhere: marked `estimated`, or
        without a source at all."""
        memory = self.memory
        limits = {
            "memory.process_limit": memory.process_limit_bytes,
            "memory.idle_available": memory.idle_available_bytes,
        }
        smallest = min(limit for limit in limits.values() if limit is not None)
        deciding = [field for field, limit in limits.items() if limit == smallest]
        if self.storage.available_for_model_bytes is not None:
            deciding.append("storage.available_for_model")
        return tuple(
            field for field in deciding if all(source.confidence == "estimated" for source in self.sources_of(field))
        )

    @property
    def budget_is_estimated(self) -> bool:
        """Whether the figure that decides the RAM budget is an estimate."""
        return any(field.startswith("memory.") for field in self.estimated_fields())
