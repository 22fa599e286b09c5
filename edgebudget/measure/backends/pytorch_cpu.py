"""Eager PyTorch on the CPU, its linear layers quantized by torchao or not: its allocator and the process."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgebudget.measure.interface import Artefact, Programs, Subject

if TYPE_CHECKING:
    from edgebudget.measure.models import BuiltModel


class PytorchCpu:
    """The worker builds the model itself; of a quantized one the state dict is written, to know its size."""

    name = "pytorch-cpu"
    dtypes = ("float32", "int8-dynamic", "int8-weight-only", "int4-weight-only")
    packages = ("torch", "torchvision", "timm", "torchao")
    runs_on = ("torch",)
    worker = "python, torch imported before the baseline"
    runs = 3
    processes = 1

    def require(self) -> None:
        """Nothing beyond torch, which the package depends on; quantizing asks for torchao where it is done."""

    def prepare(self, built: "BuiltModel", dtype: str, folder: Path) -> Artefact:
        """Return the state dict of a quantized model, as `torch.save` writes it; of float32 nothing is written."""
        settings = {"mode": "inference_mode", "load": "built with random weights"}
        if dtype == "float32":
            return Artefact(settings=settings)
        import copy

        import torch

        from edgebudget.measure.torchao import quantize

        module = copy.deepcopy(built.module)
        settings["quantization"] = quantize(module, dtype)
        path = folder / "model.pt"  # the name stands in the file, at every tensor
        torch.save(module.state_dict(), path)
        return Artefact(nbytes=path.stat().st_size, settings=settings)

    def command(self, subject: Subject, path: str, programs: Programs, threads: int, runs: int) -> Sequence[str]:
        """Return a Python worker that imports torch."""
        module = "edgebudget.measure.workers.pytorch_cpu"
        return [programs.python, "-m", module, subject.model, subject.dtype, str(threads), str(runs), *subject.inputs]


BACKEND = PytorchCpu()
