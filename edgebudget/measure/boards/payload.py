"""What travels to a board before it can measure: the allocation counter, the runner, and the worker that is Python."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from edgebudget.measure.native_build import Toolchain, executorch_runner, heap_counter

_PACKAGE = Path(__file__).parents[2]
_GUEST = Path(__file__).parent / "guest"
_WORKER = (
    "__init__.py", "registry.py", "errors.py", "measure/__init__.py", "measure/interface.py",
    "measure/workers/__init__.py", "measure/workers/probe.py", "measure/workers/onnxruntime.py",
)  # fmt: skip
"""The files of this package that the ONNX Runtime worker imports: the standard library does for the rest."""

COUNTER, RUNNER, FACTS, BALLAST = "heap_counter.so", "executorch_runner", "facts.sh", "ballast.sh"


def write_payload(folder: Path, tools: Toolchain, executorch: Path | None) -> None:
    """Write the payload for machines that `tools` compile for into `folder`; the runner where there is a wheel.

    Raises MeasurementError when a compiler is missing.
    """
    shutil.copy(heap_counter(tools), folder / COUNTER)
    for script in (FACTS, BALLAST):
        shutil.copy(_GUEST / script, folder / script)
    if executorch is not None:
        shutil.copy(executorch_runner(executorch, tools), folder / RUNNER)
    for name in _WORKER:
        target = folder / "edgebudget" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(_PACKAGE / name, target)


def worker_settings(payload: str, executorch_libraries: str) -> Mapping[str, str]:
    """Return what the environment of a worker holds beside the pinned threads, where the payload lies at `payload`."""
    return {
        "LD_PRELOAD": f"{payload}/{COUNTER}",
        "LD_LIBRARY_PATH": executorch_libraries,
        "PYTHONPATH": payload,
    }
