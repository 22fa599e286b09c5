"""What does not run in ONNX Runtime is unsupported there."""

from pathlib import Path

import pytest
import torch
from executorch_cases import CASES

from edgebudget.dtypes import DTYPES
from edgebudget.runtimes import RUNTIMES
from edgebudget.runtimes.interface import MemoryLayout, Unsupported
from edgebudget.target import GENERIC
from edgebudget.tracing import trace

REFUSED = {"sdpa_3d": "3 dimensions", "lstmproj": "projection"}


def lay_out(name: str, dtype: str = "float32") -> MemoryLayout | Unsupported:
    case = CASES[name]()
    return RUNTIMES.get("onnxruntime").lay_out(trace(case.module, case.inputs), DTYPES.get(dtype), GENERIC)


@pytest.mark.parametrize("dtype", ["float32", "int8", "int8-dynamic"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_onnx_runtime_does_not_run_is_unsupported(name: str, dtype: str) -> None:
    layout = lay_out(name, dtype)
    assert isinstance(layout, Unsupported)
    assert REFUSED[name] in layout.reason


@pytest.mark.parametrize("name", ["sdpa_gqa", "sdpa_causal", "lstmcell"])
def test_its_like_are_estimated(name: str) -> None:
    assert isinstance(lay_out(name), MemoryLayout)


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_onnx_runtime_itself_does_not_run_it(name: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    case, path = CASES[name](), tmp_path / "model.onnx"

    def export_and_run() -> None:
        torch.onnx.export(case.module.eval(), case.inputs, path, dynamo=True, verbose=False)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        named = zip(session.get_inputs(), case.inputs, strict=True)
        session.run(None, {given.name: tensor.numpy() for given, tensor in named})

    with pytest.raises(Exception, match=r"Failed to convert|initial_c must have"):
        export_and_run()
