"""What is read of a machine, and what reads it: plain values, so that captured files stand in for a machine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

System = Literal["linux", "android", "macos"]

ReadText = Callable[[str], str | None]
"""A file's text by its absolute path; None where it does not exist or cannot be read."""

RunCommand = Callable[[Sequence[str]], str | None]
"""What a command prints; None where there is no such command."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A size and where it was read: a file and its field, or a command. `is_estimate` marks a rule of practice."""

    nbytes: int
    where: str
    is_estimate: bool = False


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU with its own memory, or with None where it shares the RAM."""

    name: str
    memory: Reading | None


@dataclass(frozen=True, slots=True)
class Cpu:
    """A processor: `cores` are names of the table of cores, `unknown_parts` what no name is known for, `features` the
    instruction sets that all cores have and that runtimes choose kernels by. `None` support is not known."""

    isa: str
    cores: tuple[str, ...]
    count: int
    features: tuple[str, ...]
    computes_float16: bool | None
    computes_bfloat16: bool | None
    unknown_parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Host:
    """What Python itself knows of the machine: `platform.machine()`, the size of a pointer, the limits of this process
    (`ulimit`), the file system that models would go to, and when it was asked."""

    machine: str
    pointer_bits: int
    limits: tuple[Reading, ...]
    capacity: Reading | None
    free: Reading | None
    read_on: str


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine as it was read. `limits` bind one process; `swap_bytes` and `zram_bytes` are named, never counted."""

    system: System
    display_name: str
    host: Host
    cpu: Cpu
    ram: Reading
    os_visible: Reading | None
    available: Reading
    limits: tuple[Reading, ...]
    swap_bytes: int
    zram_bytes: int
    gpus: tuple[Gpu, ...]
