"""ExecuTorch delegating to XNNPACK, in float32 and in int8 by PT2E quantization."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgebudget.measure.backends._executorch_program import PACKAGES, RUNS_ON, WORKER, runner_command, written
from edgebudget.measure.executorch_package import package_folder
from edgebudget.measure.interface import Artefact, Programs, Subject

if TYPE_CHECKING:
    import torch

    from edgebudget.measure.models import BuiltModel


class ExecutorchXnnpack:
    """`to_edge_transform_and_lower` with the default XnnpackPartitioner; int8 is static, per channel, symmetric."""

    name = "executorch-xnnpack"
    dtypes = ("float32", "int8")
    packages = PACKAGES
    runs_on = RUNS_ON
    worker = WORKER
    runs = 3

    def require(self) -> None:
        """Raise MissingExtraError without the package executorch."""
        package_folder(f"The backend '{self.name}'")

    def prepare(self, built: "BuiltModel", dtype: str, folder: Path) -> Artefact:
        """Return the `.pte` with its planned buffers, delegates, and the operators left outside."""
        import torch
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        started = time.perf_counter()
        module, settings = (built.module, {}) if dtype == "float32" else _quantized(built)
        exported = torch.export.export(module, built.inputs)
        lowering = time.perf_counter()
        program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
        done = time.perf_counter()
        return written(program, folder / f"xnnpack-{dtype}.pte", lowering - started, done - lowering, settings)

    def command(self, subject: Subject, path: str, programs: Programs, threads: int, runs: int) -> Sequence[str]:
        """Return the standalone runner."""
        return runner_command(subject, path, programs, threads, runs)


def _quantized(built: "BuiltModel") -> "tuple[torch.nn.Module, dict[str, str]]":
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    exported = torch.export.export(built.module, built.inputs).module()
    prepared = prepare_pt2e(exported, quantizer)
    with torch.no_grad():
        prepared(*built.inputs)
    return convert_pt2e(prepared), {"quantization": "PT2E, XNNPACKQuantizer, symmetric, per channel, static"}


BACKEND = ExecutorchXnnpack()
