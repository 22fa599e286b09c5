"""ExecuTorch delegating to XNNPACK: float32, int8 by PT2E, static or dynamic, and 4-bit weights by torchao."""

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
    """`to_edge_transform_and_lower` with the default XnnpackPartitioner; quantized as `_quantized` says."""

    name = "executorch-xnnpack"
    dtypes = ("float32", "int8", "int8-dynamic", "int4-weight-only")
    packages = PACKAGES
    runs_on = RUNS_ON
    worker = WORKER
    runs = 3
    processes = 1

    def require(self) -> None:
        """Raise MissingExtraError without the package executorch."""
        package_folder(f"The backend '{self.name}'")

    def prepare(self, built: "BuiltModel", dtype: str, folder: Path) -> Artefact:
        """Return the `.pte` with its planned buffers, delegates, and the operators left outside."""
        import torch
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        started = time.perf_counter()
        module, settings = (built.module, {}) if dtype == "float32" else _quantized(built, dtype)
        exported = torch.export.export(module, built.inputs)
        lowering = time.perf_counter()
        program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
        done = time.perf_counter()
        return written(program, folder / f"xnnpack-{dtype}.pte", lowering - started, done - lowering, settings)

    def command(self, subject: Subject, path: str, programs: Programs, threads: int, runs: int) -> Sequence[str]:
        """Return the standalone runner."""
        return runner_command(subject, path, programs, threads, runs)


def _quantized(built: "BuiltModel", dtype: str) -> "tuple[torch.nn.Module, dict[str, str]]":
    if dtype == "int4-weight-only":
        return _grouped(built)
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    dynamic = dtype == "int8-dynamic"
    config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=dynamic)
    exported = torch.export.export(built.module, built.inputs).module()
    prepared = prepare_pt2e(exported, XNNPACKQuantizer().set_global(config))
    with torch.no_grad():
        prepared(*built.inputs)
    how = "dynamic" if dynamic else "static"
    return convert_pt2e(prepared), {"quantization": f"PT2E, XNNPACKQuantizer, symmetric, per channel, {how}"}


def _grouped(built: "BuiltModel") -> "tuple[torch.nn.Module, dict[str, str]]":
    """Return a copy with 4-bit weights, which XNNPACK takes with activations in int8 only."""
    import copy

    import torch
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig, quantize_
    from torchao.quantization.granularity import PerGroup

    from edgebudget.dtypes.int4_weight_only import GROUP_NUMEL

    module = copy.deepcopy(built.module)
    config = Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int4, weight_granularity=PerGroup(GROUP_NUMEL))  # type: ignore[attr-defined]
    quantize_(module, config, lambda m, _: isinstance(m, torch.nn.Linear) and m.in_features % GROUP_NUMEL == 0)
    return module, {"quantization": f"torchao Int8DynamicActivationIntxWeightConfig, int4, groups of {GROUP_NUMEL}"}


BACKEND = ExecutorchXnnpack()
