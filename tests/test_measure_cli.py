"""`edgebudget measure`: what it prints where, and how it ends."""

import sys
from pathlib import Path

import pytest

from edgebudget.cli import main
from edgebudget.measure.records import parse_measurements


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nosuch_model", "--backend", "pytorch-cpu"], "nosuch_model"),
        (["mobilenet_v2", "--backend", "onxruntime"], "Did you mean onnxruntime?"),
        (["mobilenet_v2", "--backend", ","], "No backend was named. Give --backend one of executorch,"),
        (["mobilenet_v2", "--backend", "pytorch-cpu", "--dtype", "int8"], "'pytorch-cpu' does not make 'int8'"),
        (["mobilenet_v2", "--backend", "pytorch-cpu", "--input", "big"], "'big' is not a shape"),
        (["fasterrcnn_resnet50_fpn", "--backend", "pytorch-cpu"], "more than tensors given by position"),
        (["mobilenet_v2"], "--backend"),
    ],
)
def test_wrong_usage_is_one_sentence(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", *arguments]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_measurements_alone_go_to_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "models.py"
    path.write_text(
        "import torch\nprint('imported')\n"
        "class Talks(torch.nn.Linear):\n    def forward(self, x):\n"
        "        print('forward')\n        return super().forward(x)\n"
        "def good():\n    return Talks(10, 10), torch.zeros(1, 10)\n"
        "def bad():\n    return torch.nn.Linear(10, 10), torch.zeros(1, 11)\n"
    )
    assert main(["measure", f"{path}:good", f"{path}:bad", "--backend", "pytorch-cpu", "--dtype", "float32"]) == 2
    captured = capsys.readouterr()
    (measurement,) = parse_measurements(captured.out)
    assert measurement.subject.inputs == ("1x10:float32",)
    assert measurement.parameter_numel == 110
    assert f"{path}:bad pytorch-cpu float32: not measured. The run ended with 1" in captured.err
    assert f"{path}:good pytorch-cpu float32: load " in captured.err
