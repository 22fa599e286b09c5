"""NVIDIA's GPUs, without importing torch: from what `nvidia-smi` prints, or the device tree of a Jetson. Pure."""

from edgebudget.machine.interface import Gpu, Reading, ReadText


def nvidia_smi_gpus(output: str | None) -> tuple[Gpu, ...]:
    """Return the GPUs of `nvidia-smi --query-gpu=name,memory.total --format=csv,noheader,nounits`; a memory that is no
    number, as on a Jetson, is the RAM. None and anything else that is no such list is none."""
    gpus = []
    for line in (output or "").splitlines():
        name, comma, size = (part.strip() for part in line.rpartition(","))
        if comma and name and size.isdigit():
            gpus.append(Gpu(name, Reading(int(size) * 2**20, "nvidia-smi, memory.total")))
        elif comma and name and size.startswith("["):
            gpus.append(Gpu(name, None))
    return tuple(gpus)


def integrated_gpus(read: ReadText) -> tuple[Gpu, ...]:
    """Return the GPU of a Jetson, which its device tree gives away where there is no `nvidia-smi`."""
    compatible = (read("/proc/device-tree/compatible") or "").split("\0")
    chips = [name.removeprefix("nvidia,") for name in compatible if name.startswith("nvidia,tegra")]
    return (Gpu(f"NVIDIA {chips[0].capitalize()}", None),) if chips else ()
