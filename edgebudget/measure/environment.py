"""What a worker runs in, pinned, and what is written down about it."""

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from edgebudget.measure.interface import Provenance

# What the kernels of XNNPACK, oneDNN and ONNX Runtime choose by: tile sizes, and with them padding, follow.
_FEATURES = frozenset({
    "sse4_1", "avx", "f16c", "fma", "avx2", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16",
    "avx_vnni", "amx_tile", "amx_int8", "amx_bf16",
    "neon", "asimd", "asimdhp", "asimddp", "fphp", "i8mm", "bf16", "sve", "sve2", "sme",
})  # fmt: skip
_ISA = {"x86_64": "x86-64", "AMD64": "x86-64", "aarch64": "armv8-a", "arm64": "armv8-a", "armv7l": "armv7-a"}
_PINNED_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# Settings of malloc: none of the caller's may leak into a worker, so that the default is what is measured.
_MALLOC = ("MALLOC_", "GLIBC_TUNABLES", "PYTHONMALLOC", "LD_PRELOAD")
_HEAP_COUNT = "malloc_usable_size of live blocks"


def worker_environment(heap_counter: Path, threads: int) -> dict[str, str]:
    """Return the environment of a worker: the allocation counter loaded, threads pinned, malloc as it comes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_MALLOC)}
    kept |= dict.fromkeys(_PINNED_THREADS, str(threads))
    return kept | {"LD_PRELOAD": str(heap_counter), "PYTHONHASHSEED": "0", "PYTHONPATH": _import_path()}


def preparation_environment() -> dict[str, str]:
    """Return the environment of a process that makes artefacts: one thread, since its work is Python's."""
    return {**os.environ, **dict.fromkeys(_PINNED_THREADS, "1"), "PYTHONPATH": _import_path()}


def _import_path() -> str:
    """Return a PYTHONPATH with which a child finds this very package."""
    own = str(Path(__file__).parents[2])
    return os.pathsep.join([own, *filter(None, [os.environ.get("PYTHONPATH")])])


def provenance(packages: Sequence[str], threads: int, runs: int, worker: str) -> Provenance:
    """Return where and with what a measurement is made, now."""
    name, features = _cpu()
    return Provenance(
        measured_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        versions=_versions(packages),
        isa=_ISA.get(platform.machine(), platform.machine()),
        cpu=name,
        cpu_features=features,
        kernel=f"{platform.system()} {platform.release()}",
        libc=" ".join(platform.libc_ver()),
        allocator_settings={"malloc": "glibc, default settings", "heap": _HEAP_COUNT},
        threads=threads,
        runs=runs,
        worker=worker,
    )


def _versions(packages: Sequence[str]) -> Mapping[str, str]:
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # timm and torchvision only matter to models that come from them
    return versions


def _cpu() -> tuple[str, tuple[str, ...]]:
    fields: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    features = set(fields.get("flags", fields.get("Features", "")).split())
    family = ", ".join(f"{key} {fields[key]}" for key in ("cpu family", "model", "CPU part") if key in fields)
    name = fields.get("model name", fields.get("CPU implementer", "unknown"))
    return f"{name} ({family})" if family else name, tuple(sorted(features & _FEATURES))
