"""What a worker runs in, pinned, and what is written down about it."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from edgebudget.measure.facts import MachineFacts
from edgebudget.measure.interface import Backend, Board, Provenance

THREADS = 1
PINNED: Mapping[str, str] = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(THREADS)),
    "PYTHONHASHSEED": "0",
}
"""What every worker is told, wherever it runs."""
# Settings of malloc: none of the caller's may leak into a worker, so that the default is what is measured.
_MALLOC = ("MALLOC_", "GLIBC_TUNABLES", "PYTHONMALLOC", "LD_PRELOAD")
_HEAP_COUNT = "malloc_usable_size of live blocks"


def worker_environment(heap_counter: Path) -> dict[str, str]:
    """Return the environment of a worker: the allocation counter loaded, threads pinned, malloc as it comes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_MALLOC)}
    return {**kept, **PINNED, "LD_PRELOAD": str(heap_counter), "PYTHONPATH": _import_path()}


def preparation_environment() -> dict[str, str]:
    """Return the environment of a process that makes artefacts: one thread, since its work is Python's."""
    return {**os.environ, **PINNED, "PYTHONPATH": _import_path()}


def _import_path() -> str:
    """Return a PYTHONPATH with which a child finds this very package."""
    own = str(Path(__file__).parents[2])
    return os.pathsep.join([own, *filter(None, [os.environ.get("PYTHONPATH")])])


def provenance(
    backend: Backend, facts: MachineFacts, installed_there: Mapping[str, str], runs: int, board: Board | None
) -> Provenance:
    """Return where and with what a measurement is made, now.

    `installed_there` are the packages of the place where the worker runs; the others are those of this process.
    """
    return Provenance(
        measured_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        versions={"python": facts.python, **_versions(backend), **installed_there},
        isa=facts.isa,
        cpu=facts.cpu,
        cpu_features=facts.features,
        kernel=facts.kernel,
        libc=facts.libc,
        allocator_settings={"malloc": "glibc, default settings", "heap": _HEAP_COUNT},
        threads=THREADS,
        runs=runs,
        worker=backend.worker,
        board=board,
    )


def _versions(backend: Backend) -> Mapping[str, str]:
    versions = {}
    for package in backend.packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # timm and torchvision only matter to models that come from them
    return versions
