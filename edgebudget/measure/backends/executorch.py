"""ExecuTorch with its portable kernels, nothing delegated: what its planner reserves, and what a process takes."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgebudget.measure.backends._executorch_program import PACKAGES, RUNS_ON, WORKER, runner_command, written
from edgebudget.measure.executorch_package import package_folder
from edgebudget.measure.interface import Artefact, Programs, Subject

if TYPE_CHECKING:
    from edgebudget.measure.models import BuiltModel


class ExecutorchPortable:
    """`torch.export`, `to_edge`, `to_executorch` with their default options."""

    name = "executorch"
    dtypes = ("float32",)
    packages = PACKAGES
    runs_on = RUNS_ON
    worker = WORKER
    runs = 2  # its kernels keep nothing from run to run, and are slow
    processes = 1

    def require(self) -> None:
        """Raise MissingExtraError without the package executorch."""
        package_folder(f"The backend '{self.name}'")

    def prepare(self, built: "BuiltModel", dtype: str, folder: Path) -> Artefact:
        """Return the `.pte` with its planned buffers."""
        import torch
        from executorch.exir import to_edge

        started = time.perf_counter()
        exported = torch.export.export(built.module, built.inputs)
        lowering = time.perf_counter()
        program = to_edge(exported).to_executorch()
        done = time.perf_counter()
        return written(program, folder / "portable.pte", lowering - started, done - lowering, {})

    def command(self, subject: Subject, path: str, programs: Programs, threads: int, runs: int) -> Sequence[str]:
        """Return the standalone runner."""
        return runner_command(subject, path, programs, threads, runs)


BACKEND = ExecutorchPortable()
