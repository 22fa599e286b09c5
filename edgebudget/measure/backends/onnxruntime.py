"""ONNX Runtime on the CPU, in float32 and in what its own quantizers make of that."""

import importlib.util
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgebudget.errors import MissingExtraError
from edgebudget.measure.interface import SCATTERED_WEIGHTS, Artefact, Programs, Subject

if TYPE_CHECKING:
    import numpy

    from edgebudget.measure.models import BuiltModel


class OnnxRuntime:
    """The dynamo exporter, weights in the file; the default session options but for the threads."""

    name = "onnxruntime"
    dtypes = ("float32", "int8", "int8-dynamic", "int8-weight-only", "int4-weight-only")
    packages = ("torch", "torchvision", "timm", "onnxruntime", "onnx", "onnxscript", "numpy")
    runs_on = ("onnxruntime", "numpy")
    worker = "python, onnxruntime and numpy imported before the baseline"
    runs = 3
    processes = 5

    def require(self) -> None:
        """Raise MissingExtraError without onnxruntime, onnx or onnxscript."""
        for package in ("onnxruntime", "onnx", "onnxscript"):
            if importlib.util.find_spec(package) is None:
                raise MissingExtraError(package, "onnxruntime", f"The backend '{self.name}'")

    def prepare(self, built: "BuiltModel", dtype: str, folder: Path) -> Artefact:
        """Return the `.onnx` file."""
        import torch

        plain = folder / "float32.onnx"
        started = time.perf_counter()
        if not plain.exists():  # the others start from the file that float32 made
            torch.onnx.export(
                built.module, built.inputs, str(plain), dynamo=True, external_data=False, optimize=True, verbose=False
            )
        lowering = time.perf_counter()
        settings = {"exporter": "torch.onnx dynamo", "enable_cpu_mem_arena": "true", "enable_mem_pattern": "true"}
        settings |= {"graph_optimization_level": "all", "weights": SCATTERED_WEIGHTS}
        path = plain
        if dtype != "float32":
            path = folder / f"{dtype}.onnx"
            settings["quantization"] = _quantize(plain, path, built, dtype)
        done = time.perf_counter()
        return Artefact(
            path=path,
            nbytes=path.stat().st_size,
            export_seconds=round(lowering - started, 3),
            lowering_seconds=round(done - lowering, 3),
            settings=settings,
        )

    def command(self, subject: Subject, path: str, programs: Programs, threads: int, runs: int) -> Sequence[str]:
        """Return a Python worker that imports onnxruntime and numpy only."""
        module = "edgebudget.measure.workers.onnxruntime"
        return [programs.python, "-m", module, path, str(threads), str(runs), *subject.inputs]


def _quantize(source: Path, target: Path, built: "BuiltModel", dtype: str) -> str:
    if dtype == "int8":
        return _quantize_static(source, target, built)
    if dtype == "int8-dynamic":
        return _quantize_dynamic(source, target)
    return _quantize_blocks(source, target, bits=8 if dtype == "int8-weight-only" else 4)


def _quantize_dynamic(source: Path, target: Path) -> str:
    import onnx
    from onnxruntime.quantization import quantize_dynamic

    model = onnx.load(str(source))
    weights = {initializer.name for initializer in model.graph.initializer}
    # The exporter writes the shapes of weights too, and the quantizer, which transposes some, trips over them.
    kept = [value for value in model.graph.value_info if value.name not in weights]
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)
    quantize_dynamic(model, str(target))
    return "quantize_dynamic, weights int8 by tensor"


def _quantize_blocks(source: Path, target: Path, *, bits: int) -> str:
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

    from edgebudget.dtypes.int4_weight_only import GROUP_NUMEL

    config = DefaultWeightOnlyQuantConfig(block_size=GROUP_NUMEL, is_symmetric=True, bits=bits)
    quantizer = MatMulNBitsQuantizer(onnx.load(str(source)), algo_config=config)
    quantizer.process()
    quantizer.model.save_model_to_file(str(target))
    return f"MatMulNBitsQuantizer, {bits} bits, blocks of {GROUP_NUMEL}, symmetric"


def _quantize_static(source: Path, target: Path, built: "BuiltModel") -> str:
    from onnxruntime import InferenceSession
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class OneBatch(CalibrationDataReader):  # type: ignore[misc]
        """The example inputs, once: ranges change numbers, not memory."""

        def __init__(self, names: Sequence[str]) -> None:
            pairs = zip(names, built.inputs, strict=True)
            self._left = [{name: tensor.numpy() for name, tensor in pairs}]

        def get_next(self) -> "dict[str, numpy.ndarray] | None":
            return self._left.pop() if self._left else None

    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    session = InferenceSession(str(prepared), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    # Activations uint8: of int8 ones ONNX Runtime on x86 makes uint8 at load, and where a value is read twice (every
    # residual block) it then leaves the convolutions in float. On Arm both run whole.
    quantize_static(str(prepared), str(target), OneBatch(names), per_channel=True, activation_type=QuantType.QUInt8)
    prepared.unlink()
    return "quant_pre_process, quantize_static, QDQ, per channel, activations uint8, weights int8"


BACKEND = OnnxRuntime()
