"""A device as the package sees it: frozen, in whole bytes, every figure with a source."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from edgebudget.target import Gpu, Target, WeightsIn

DeviceClass = Literal["sbc", "phone", "tablet", "mcu", "accelerator", "pc"]
DtypeSupport = Literal["native", "emulated", "storage", "unsupported"]
Confidence = Literal["verified", "likely", "estimated"]
RegionSpeed = Literal["fast", "slow"]
Holds = Literal["weights", "activations", "both", "cache"]
Beyond = Literal["ram", "nothing"]


@dataclass(frozen=True, slots=True)
class MemoryRegion:
    """A contiguous block of RAM. `slow` is memory behind an external bus, such as PSRAM or SDRAM."""

    name: str
    size_bytes: int
    speed: RegionSpeed = "fast"


@dataclass(frozen=True)
class Memory:
    """RAM, from what the data sheet says down to what one process may have; None where nobody has measured it.

    `regions` is empty where the RAM is one block; otherwise what is taken in one piece has to fit into one of them.
    """

    ram_bytes: int
    os_visible_bytes: int | None
    idle_available_bytes: int | None
    process_limit_bytes: int | None
    safety_margin_percent: float
    weights_in: WeightsIn = "ram"
    regions: tuple[MemoryRegion, ...] = ()

    @cached_property
    def largest_region(self) -> MemoryRegion | None:
        """The largest block that can be taken in one piece, a fast one of equals; None where the RAM is not split."""
        return max(self.regions, key=lambda region: (region.size_bytes, region.speed == "fast"), default=None)

    @property
    def ceiling_bytes(self) -> int | None:
        """What one process may have where that is more than what is available when idle: what lies between the two is
        had only while the system takes memory back from others, as a phone does. None where there is no such zone."""
        limit, available = self.process_limit_bytes, self.idle_available_bytes
        return limit if limit is not None and available is not None and limit > available else None

    @cached_property
    def limits(self) -> Mapping[str, int]:
        """What bounds the peak, by its dotted path in the YAML.

        Where constants stay in flash, all that a runtime takes is one arena, so the largest region bounds it as well.
        """
        region = self.largest_region if self.weights_in == "flash" else None
        known = {
            "memory.process_limit": self.process_limit_bytes,
            "memory.idle_available": self.idle_available_bytes,
            "memory.regions": region.size_bytes if region else None,
        }
        return {field: nbytes for field, nbytes in known.items() if nbytes is not None}


@dataclass(frozen=True, slots=True)
class StorageSpace:
    """Flash, card or disk: in all, and what a model file may take."""

    capacity_bytes: int | None
    available_for_model_bytes: int | None


@dataclass(frozen=True, slots=True)
class AcceleratorMemory:
    """A memory that an accelerator has for itself, what of a model it holds, and where goes what does not fit."""

    name: str
    size_bytes: int
    holds: Holds
    beyond: Beyond = "ram"


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A processor beside the CPU. `memories` is empty where it shares the RAM; `mode` is how its compiler uses them."""

    name: str
    dtypes: tuple[str, ...] = ()
    memories: tuple[AcceleratorMemory, ...] = ()
    mode: str | None = None

    @property
    def label(self) -> str:
        """The name, with the mode where there is one: `Arm Ethos-U55-256 (Shared_Sram)`."""
        return f"{self.name} ({self.mode.partition(':')[0]})" if self.mode else self.name


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
    accelerators: tuple[Accelerator, ...] = ()

    @cached_property
    def budget_bytes(self) -> int:
        """The smallest of `process_limit`, `idle_available` and, for an arena, the largest region, less the safety
        margin, rounded down to a byte."""
        return int(min(self.memory.limits.values()) * (100 - self.memory.safety_margin_percent) / 100)

    @cached_property
    def budget_is_idle_ram(self) -> bool:
        """Whether the budget is what a board's Linux has available: a limit of one process is another matter, a phone's
        system ends others first, and a microcontroller has nothing to read a page from again."""
        available, limit = self.memory.idle_available_bytes, self.memory.process_limit_bytes
        decides = available is not None and (limit is None or available <= limit)
        return decides and self.device_class in ("sbc", "accelerator", "pc")

    @property
    def storage_budget_bytes(self) -> int | None:
        """What a model file may take; the whole device's capacity where no smaller figure is known."""
        available = self.storage.available_for_model_bytes
        return self.storage.capacity_bytes if available is None else available

    @cached_property
    def target(self) -> Target:
        """What the runtimes need to know of the device."""
        return Target(self.cpu.isa, self.cpu.pointer_bits, self.cpu.cores, self.memory.weights_in, self.gpu)

    def sources_of(self, field: str) -> tuple[Source, ...]:
        """The sources of one figure, by its dotted path in the YAML."""
        return tuple(source for source in self.sources if source.field == field)

    @cached_property
    def estimated_fields(self) -> tuple[str, ...]:
        """The figures behind the budget and the storage limit that nobody has read anywhere: marked `estimated`, or
        without a source at all."""
        limits = self.memory.limits
        smallest = min(limits.values())
        deciding = [field for field, limit in limits.items() if limit == smallest]
        if self.storage.available_for_model_bytes is not None:
            deciding.append("storage.available_for_model")
        return tuple(
            field for field in deciding if all(source.confidence == "estimated" for source in self.sources_of(field))
        )

    @property
    def budget_is_estimated(self) -> bool:
        """Whether the figure that decides the RAM budget is an estimate."""
        return any(field.startswith("memory.") for field in self.estimated_fields)
