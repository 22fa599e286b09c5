"""Models built for real."""

from pathlib import Path

import pytest
import torch

from edgebudget.errors import ModelError
from edgebudget.measure import zoo
from edgebudget.measure.models import build_model, default_shapes, example_inputs, shape_text

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
    built = build_model(reference, default_shapes(reference))
    with torch.inference_mode():
        assert torch.isfinite(built.module(*built.inputs)).all()


def test_a_factory_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import torch\ndef make():\n    return torch.nn.Linear(3, 2), torch.zeros(5, 3)\n")
    assert default_shapes(f"{path}:make") == ("5x3:float32",)
    assert build_model(f"{path}:make", ["5x3"]).parameter_numel == 8


@pytest.mark.parametrize(
    ("reference", "match"),
    [
        ("resnet1000", "torchvision has no model 'resnet1000'"),
        ("nowhere.to.be.found:make", "could not be imported: ModuleNotFoundError"),
        ("edgebudget.measure.zoo:nothing", "could not be imported: AttributeError"),
        ("edgebudget.measure.zoo:torch", "is not a function"),
        ("missing.py:make", "could not be imported: FileNotFoundError"),
        ("builtins:dict", "made a dict, not a torch.nn.Module"),
    ],
)
def test_what_is_no_model_is_one_sentence(reference: str, match: str) -> None:
    with pytest.raises(ModelError, match=match):
        build_model(reference, ["1x3x8x8"])


def test_a_factory_that_raises_says_what(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def make():\n    raise ValueError('no luck')\n")
    with pytest.raises(ModelError, match="could not be built: ValueError: no luck"):
        build_model(f"{path}:make", ["1x3"])


def test_unknown_timm_model() -> None:
    pytest.importorskip("timm")
    with pytest.raises(ModelError, match="timm has no model 'nope'"):
        build_model("timm:nope", ["1x3x8x8"])
    assert default_shapes("timm:mobilevit_xxs") == ("1x3x256x256:float32",)


@pytest.mark.parametrize("shape", ["", "axb", "1x3:float33", "1x3:nn", ":float32"])
def test_what_is_no_shape_is_refused(shape: str) -> None:
    with pytest.raises(ModelError, match="is not a shape"):
        example_inputs([shape])


def test_shapes_are_written_as_they_are_read() -> None:
    shapes = ["1x3x4:float32", "2x5:int64", "7:bool"]
    assert [shape_text(tensor) for tensor in example_inputs(shapes)] == shapes
