"""Eager PyTorch on the CPU: each allocation and free of its allocator, and the process."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgebudget.measure.interface import Artefact, Programs, Subject

if TYPE_CHECKING:
    from edgebudget.measure.models import BuiltModel


class PytorchCpu:
    """The worker builds the model itself: there is no file to make."""

    name = "pytorch-cpu"
    dtypes = ("float32",)
    packages = ("torch", "torchvision", "timm")
    runs_on = ("torch",)
    worker = "python, torch imported before the baseline"
    runs = 3

    def require(self) -> None:
        """Nothing beyond torch, which the package depends on."""

    def prepare(self, built: "BuiltModel", dtype: str, folder: Path) -> Artefact:
        """Return an empty artefact."""
        return Artefact(settings={"mode": "inference_mode", "load": "built with random weights"})

    def command(self, subject: Subject, path: str, programs: Programs, threads: int, runs: int) -> Sequence[str]:
        """Return a Python worker that imports torch."""
        module = "edgebudget.measure.workers.pytorch_cpu"
        return [programs.python, "-m", module, subject.model, str(threads), str(runs), *subject.inputs]


BACKEND = PytorchCpu()
