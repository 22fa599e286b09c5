"""What a runtime's memory layout depends on in a device: its instruction set, pointers, and where weights live."""

from dataclasses import dataclass
from typing import Literal

WeightsIn = Literal["ram", "flash"]
Gpu = Literal["cuda"]


@dataclass(frozen=True, slots=True)
class Target:
    """The machine a layout is made for.

    `isa` is a profile's `cpu.isa` (`x86-64`, `armv8-a`, `armv7e-m`, ...); `cores` its core names, lower case
    (`cortex-a72`), empty where unknown. `weights_in: flash` means constants are read in place and take no RAM. `gpu` is
    one that shares the RAM, None without.
    """

    isa: str = "armv8-a"
    pointer_bits: int = 64
    cores: tuple[str, ...] = ()
    weights_in: WeightsIn = "ram"
    gpu: Gpu | None = None

    @property
    def is_x86(self) -> bool:
        return self.isa.startswith("x86")

    @property
    def pointer_bytes(self) -> int:
        return self.pointer_bits // 8


GENERIC = Target()
