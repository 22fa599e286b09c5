"""Models built for real."""

from pathlib import Path

import pytest
import torch

from edgebudget.errors import ModelError, UnknownNameError
from edgebudget.measure import zoo
from edgebudget.measure.models import build_model, example_inputs, input_shapes

FACTORIES = [
    name for name, made in vars(zoo).items() if getattr(made, "__annotations__", {}).get("return") is zoo.Model
]


def test_weights_are_the_same_each_time_and_are_real() -> None:
    first, second = (build_model("squeezenet1_1", ["1x3x64x64:float32"]) for _ in range(2))
    assert not first.module.training
    assert first.parameter_numel == 1_235_496
    for one, other in zip(first.module.parameters(), second.module.parameters(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(first.inputs[0], second.inputs[0])


@pytest.mark.parametrize("name", FACTORIES)
def test_the_zoo_runs_on_its_own_inputs(name: str) -> None:
    reference = f"edgebudget.measure.zoo:{name}"
    built = build_model(reference, input_shapes(reference))
    with torch.inference_mode():
        assert torch.isfinite(built.module(*built.inputs)).all()


def test_a_factory_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import torch\ndef make():\n    return torch.nn.Linear(3, 2), torch.zeros(5, 3)\n")
    assert input_shapes(f"{path}:make") == ("5x3:float32",)
    built = build_model(f"{path}:make", ["5x3"])
    assert built.parameter_numel == 8
    assert built.module.weight.device.type == "cpu"


def test_inputs_are_told_in_full() -> None:
    assert input_shapes("squeezenet1_1") == ("1x3x224x224:float32",)
    assert input_shapes("squeezenet1_1", ["2x3X64x64"]) == ("2x3x64x64:float32",)
    assert input_shapes("edgebudget.measure.zoo:text_classifier") == ("1x64:int64",)
    shapes = ["1x3x4:float32", "2x5:int64", "7:bool", "2:float16"]
    assert [(tuple(made.shape), made.dtype) for made in example_inputs(shapes)] == [
        ((1, 3, 4), torch.float32),
        ((2, 5), torch.int64),
        ((7,), torch.bool),
        ((2,), torch.float16),
    ]


def test_keyword_inputs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import torch\ndef make():\n    return torch.nn.Identity(), {'input': torch.zeros(3)}\n")
    with pytest.raises(ModelError, match="more than tensors given by position"):
        input_shapes(f"{path}:make")


def test_the_caller_s_random_numbers_go_on_as_they_were() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build_model("edgebudget.measure.zoo:keyword_cnn", ["1x1x49x10"])
    assert torch.equal(torch.rand(3), expected)


def test_an_unknown_model_is_one_sentence() -> None:
    with pytest.raises(UnknownNameError, match="resnet1000"):
        build_model("resnet1000", ["1x3x8x8"])


def test_timm_models_have_their_own_size() -> None:
    pytest.importorskip("timm")
    assert input_shapes("timm:mobilevit_xxs") == ("1x3x256x256:float32",)
