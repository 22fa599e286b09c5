"""A GPU as the measuring process sees it: PyTorch's caching allocator, what lies outside of it, and what it is.

Every call of `torch.cuda` that a measurement rests on stands here, by names that PyTorch 2.11 has.
"""

import gc
import os
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import Protocol

import torch

from edgebudget.errors import MeasurementError
from edgebudget.measure.cuda.records import CacheCount, CudaProvenance, Libraries

SEED = 0
RUNS = 3  # the first warms up, the second is counted, and in the third every allocation is recorded
_PACKAGES = ("torch", "torchvision", "timm", "torchao")
_SETTINGS = (
    "CUDA_MODULE_LOADING", "CUBLAS_WORKSPACE_CONFIG", "CUBLASLT_WORKSPACE_SIZE", "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_NO_CUDA_MEMORY_CACHING", "TORCH_CUBLASLT_UNIFIED_WORKSPACE",
)  # fmt: skip
_COUNTED = ("requested", "allocated", "reserved")
_MAX_EVENTS = 1_000_000
_MIB = 2**20


class Device(Protocol):
    """What a measurement asks of where the model runs."""

    @property
    def place(self) -> torch.device:
        """Where tensors go."""
        ...

    @property
    def libraries(self) -> Libraries:
        """What the process pays whatever the model."""
        ...

    def seed(self) -> torch.Generator:
        """Seed the device's own generators, and return a fresh seeded one for inputs."""
        ...

    def count(self) -> CacheCount:
        """Wait for the device and return what its allocator says."""
        ...

    def reset_peaks(self) -> None:
        """Let the allocator's peaks begin at what is there now."""
        ...

    def empty_cache(self) -> None:
        """Drop garbage, and give back the segments that nothing is held in."""
        ...

    def at_peak(self, run: Callable[[], object]) -> tuple[int, ...] | None:
        """Return the requests that are held when `run` peaks, made within it, largest first; None if not known."""
        ...

    def outside_bytes(self) -> int:
        """Return what is in use on the device past the caching allocator, by whomever."""
        ...

    def provenance(self, already_measured: int) -> CudaProvenance:
        """Return where and with what a measurement is made, now."""
        ...


class CudaDevice:
    """The GPU called `name`, `cuda` or `cuda:1`, in a process of its own that has not used one before.

    Raises MeasurementError where there is no such GPU.
    """

    def __init__(self, name: str) -> None:
        used_before = _used_by_gpu()
        self._host_import_bytes = _resident_bytes()
        self.place = _find(name)
        torch.cuda.set_device(self.place)
        torch.cuda.init()
        torch.zeros(1, device=self.place)
        self.empty_cache()
        properties = torch.cuda.get_device_properties(self.place)
        self._context_bytes = _growth(used_before, _used_by_gpu(), str(getattr(properties, "uuid", "")))
        self.libraries = self._wake_libraries()
        self._provenance = _provenance(properties)
        gc.freeze()  # looking through all that torch is made of would cost more than a model's run

    def seed(self) -> torch.Generator:
        torch.cuda.manual_seed(SEED)
        return torch.Generator(device=self.place).manual_seed(SEED)

    def count(self) -> CacheCount:
        torch.cuda.synchronize(self.place)
        stats = torch.cuda.memory_stats(self.place)
        return CacheCount(
            *(stats[f"{what}_bytes.all.{when}"] for when in ("current", "peak") for what in _COUNTED),
        )

    def reset_peaks(self) -> None:
        torch.cuda.synchronize(self.place)
        torch.cuda.reset_peak_memory_stats(self.place)

    def empty_cache(self) -> None:
        gc.collect()
        torch.cuda.synchronize(self.place)
        torch.cuda.empty_cache()

    def at_peak(self, run: Callable[[], object]) -> tuple[int, ...] | None:
        try:
            torch.cuda.memory._record_memory_history("all", context=None, max_entries=_MAX_EVENTS)
        except (AttributeError, TypeError, RuntimeError):  # no public interface says what a peak is made of
            return None
        try:
            index = self.place.index
            before = len(torch.cuda.memory._snapshot()["device_traces"][index])
            held = run()
            torch.cuda.synchronize(self.place)
            events = torch.cuda.memory._snapshot()["device_traces"][index][before:]
            del held
            return held_at_peak((event["action"], event["addr"], event["size"]) for event in events)
        except (AttributeError, KeyError, IndexError, TypeError):
            return None
        finally:
            torch.cuda.memory._record_memory_history(None)

    def outside_bytes(self) -> int:
        torch.cuda.synchronize(self.place)
        free_bytes, total_bytes = torch.cuda.mem_get_info(self.place)
        return max(0, total_bytes - free_bytes - torch.cuda.memory_reserved(self.place))

    def provenance(self, already_measured: int) -> CudaProvenance:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return replace(self._provenance, measured_at=now, already_measured=already_measured)

    def _wake_libraries(self) -> Libraries:
        """Have cuBLAS and cuDNN make their handles, each by a tiny call, in every type that is measured."""
        dtypes = (torch.float32, torch.float16, torch.bfloat16)

        def products() -> None:
            for dtype in dtypes:
                left = torch.ones(16, 16, device=self.place, dtype=dtype)
                bias = torch.ones(16, device=self.place, dtype=dtype)
                torch.mm(left, left)
                torch.nn.functional.linear(left, left, bias)
                torch.bmm(left[None], left[None])

        def convolutions() -> None:
            for dtype in dtypes:
                image = torch.ones(1, 8, 16, 16, device=self.place, dtype=dtype)
                torch.nn.functional.conv2d(image, torch.ones(8, 8, 3, 3, device=self.place, dtype=dtype), padding=1)

        with torch.inference_mode():
            blas_code, blas_kept, blas_scratch = self._cost(products)
            dnn_code, dnn_kept, dnn_scratch = self._cost(convolutions)
        return Libraries(
            context_bytes=self._context_bytes,
            cublas_code_bytes=blas_code,
            cublas_workspace_bytes=blas_kept,
            cublas_scratch_bytes=blas_scratch,
            cudnn_code_bytes=dnn_code,
            cudnn_workspace_bytes=dnn_kept,
            cudnn_scratch_bytes=dnn_scratch,
            host_import_bytes=self._host_import_bytes,
            host_ready_bytes=_resident_bytes(),
        )

    def _cost(self, call: Callable[[], None]) -> tuple[int, int, int]:
        """Return what `call` takes for good outside the allocator, for good in it, and besides at its peak."""
        self.empty_cache()
        outside, held = self.outside_bytes(), torch.cuda.memory_allocated(self.place)
        self.reset_peaks()
        call()
        peak = self.count().allocated_peak_bytes
        self.empty_cache()
        kept = torch.cuda.memory_allocated(self.place) - held
        return max(0, self.outside_bytes() - outside), kept, max(0, peak - held - kept)


def held_at_peak(events: Iterable[tuple[str, int, int]]) -> tuple[int, ...]:
    """Return the sizes of what is held when the sum of `events` peaks, largest first.

    An event is (action, address, bytes); `alloc` and `free_requested` count, and what was held before does not.
    """
    held: dict[int, int] = {}
    total = peak = 0
    at_peak: tuple[int, ...] = ()
    for action, address, nbytes in events:
        if action == "alloc":
            held[address] = nbytes
            total += nbytes
            if total > peak:
                peak, at_peak = total, tuple(held.values())
        elif action == "free_requested" and address in held:
            total -= held.pop(address)
    return tuple(sorted(at_peak, reverse=True))


def _provenance(properties: "torch.cuda._CudaDeviceProperties") -> CudaProvenance:
    driver = _ask_nvidia_smi("driver_version")
    return CudaProvenance(
        measured_at="",
        gpu=properties.name,
        compute_capability=f"{properties.major}.{properties.minor}",
        total_bytes=properties.total_memory,
        driver=driver[0][0] if driver else "unknown",
        versions=_versions(),
        settings=_settings(),
        runs=RUNS,
        already_measured=0,
    )


def _find(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise MeasurementError(f"{name!r} is not a CUDA device.", "Write cuda or, for example, cuda:1.") from None
    if device.type != "cuda":
        raise MeasurementError(f"{name!r} is not a CUDA device.", "Write cuda or, for example, cuda:1.")
    if torch.version.cuda is None:
        raise MeasurementError(
            f"torch {torch.__version__} is built without CUDA.", "Install a build with CUDA on a machine with a GPU."
        )
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        raise MeasurementError(
            f"torch {torch.__version__} finds no CUDA GPU here.", "Run this on a machine with an NVIDIA GPU and driver."
        )
    index = device.index or 0
    if index >= count:
        raise MeasurementError(f"There is no {name}: this machine has {count} CUDA GPUs.", "The first is cuda:0.")
    return torch.device("cuda", index)


def _ask_nvidia_smi(*fields: str) -> list[list[str]]:
    """Return a row of values for each GPU, nothing where nvidia-smi is not there or says nothing."""
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [[value.strip() for value in line.split(",")] for line in done.stdout.splitlines() if line.strip()]


def _used_by_gpu() -> Mapping[str, int]:
    """Return the memory in use on each GPU, by its UUID, in bytes; nvidia-smi counts in MiB."""
    return {
        uuid.removeprefix("GPU-"): int(used) * _MIB
        for uuid, used in _ask_nvidia_smi("uuid", "memory.used")
        if used.isdigit()
    }


def _growth(before: Mapping[str, int], after: Mapping[str, int], uuid: str) -> int | None:
    uuid = uuid.removeprefix("GPU-")
    if uuid not in before and len(before) == 1:
        uuid = next(iter(before))  # the only one there is
    if uuid not in before or uuid not in after:
        return None
    return max(0, after[uuid] - before[uuid])


def _resident_bytes() -> int:
    status = Path("/proc/self/status").read_text().split()
    return sum(int(status[status.index(label) + 1]) * 1024 for label in ("RssAnon:", "RssFile:"))


def _versions() -> dict[str, str]:
    versions = {"python": python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    versions["torch"] = torch.__version__  # with its build, which the distribution's version may lack
    versions["cuda"] = torch.version.cuda or "none"
    versions["cudnn"] = str(torch.backends.cudnn.version())
    return versions


def _settings() -> dict[str, str]:
    flags = {
        "mode": "inference_mode, converted on the CPU, then moved",
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        "cudnn.deterministic": torch.backends.cudnn.deterministic,
        "cudnn.allow_tf32": torch.backends.cudnn.allow_tf32,
        "matmul.allow_tf32": torch.backends.cuda.matmul.allow_tf32,
        "allocator": torch.cuda.memory.get_allocator_backend(),
    }
    given = {name: os.environ[name] for name in _SETTINGS if name in os.environ}
    return {**{name: str(value) for name, value in flags.items()}, **given}
