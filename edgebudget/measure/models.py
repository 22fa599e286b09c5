"""Models built for real, with seeded random weights: what a runtime is given to measure."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch

from edgebudget.errors import EdgeBudgetError, MissingExtraError, ModelError

SEED = 0


@dataclass(frozen=True)
class BuiltModel:
    """A module in evaluation mode with real weights, and inputs that fit it."""

    module: torch.nn.Module
    inputs: tuple[torch.Tensor, ...]

    @property
    def parameter_numel(self) -> int:
        return sum(parameter.numel() for parameter in self.module.parameters())


def build_model(reference: str, shapes: Sequence[str]) -> BuiltModel:
    """Return the model that `reference` names, with inputs of `shapes` (`1x3x224x224:float32`).

    Raises ModelError when there is no such model or it cannot be built.
    """
    return BuiltModel(model_builder(reference)(), example_inputs(shapes))


def model_builder(reference: str) -> Callable[[], torch.nn.Module]:
    """Return a function that builds the model; what it needs to import is imported by then.

    Raises ModelError when there is no such model; the function raises it when the model cannot be built.
    """
    make = _factory(reference)

    def build() -> torch.nn.Module:
        torch.manual_seed(SEED)
        try:
            made = make()
        except EdgeBudgetError:
            raise
        except Exception as error:
            raise ModelError(f"Model {reference!r} could not be built: {type(error).__name__}: {error}") from error
        module = made[0] if isinstance(made, tuple) else made
        if not isinstance(module, torch.nn.Module):
            raise ModelError(f"{reference!r} made a {type(module).__name__}, not a torch.nn.Module.")
        return module.eval()

    return build


def default_shapes(reference: str) -> tuple[str, ...]:
    """Return the inputs a model is made for.

    Of a timm model its own, of a factory those it returns, else one image of 224x224.
    """
    if reference.startswith("timm:"):
        timm = _timm()
        sizes = timm.get_pretrained_cfg(reference.removeprefix("timm:"), allow_unregistered=True).input_size
        return ("x".join(str(size) for size in (1, *sizes)) + ":float32",)
    if ":" in reference:
        made = _factory(reference)()
        if isinstance(made, tuple):
            examples = made[1] if isinstance(made[1], tuple | list) else (made[1],)
            return tuple(shape_text(example) for example in examples)
    return ("1x3x224x224:float32",)


def shape_text(tensor: torch.Tensor) -> str:
    """Return `1x3x224x224:float32` for a tensor of that shape and type."""
    return "x".join(str(size) for size in tensor.shape) + ":" + str(tensor.dtype).removeprefix("torch.")


def example_inputs(shapes: Sequence[str]) -> tuple[torch.Tensor, ...]:
    """Return seeded inputs: normally distributed, or zeros, an index that always fits, where the type is no float.

    Raises ModelError for what is not written like a shape.
    """
    generator = torch.Generator().manual_seed(SEED)
    tensors = []
    for shape in shapes:
        sizes, _, name = shape.partition(":")
        dtype = getattr(torch, name or "float32", None)
        try:
            numbers = [int(size) for size in sizes.split("x")]
        except ValueError:
            numbers = []
        if not isinstance(dtype, torch.dtype) or not numbers:
            raise ModelError(f"The input {shape!r} is not a shape.", "Write it like 1x3x224x224 or 1x16:int64.")
        if dtype.is_floating_point:
            tensors.append(torch.randn(numbers, generator=generator, dtype=dtype))
        else:
            tensors.append(torch.zeros(numbers, dtype=dtype))
    return tuple(tensors)


def _factory(reference: str) -> Callable[[], object]:
    if reference.startswith("timm:"):
        timm, name = _timm(), reference.removeprefix("timm:")
        if not timm.is_model(name):
            raise ModelError(f"timm has no model {name!r}.")
        return lambda: timm.create_model(name, pretrained=False)
    if ":" in reference:
        return _attribute(reference)
    from torchvision import models as zoo

    if reference not in zoo.list_models():
        raise ModelError(f"torchvision has no model {reference!r}.", "Write timm:NAME or file.py:factory for another.")
    options: dict[str, object] = {"weights": None}
    if reference in zoo.list_models(module=zoo.segmentation):
        options["weights_backbone"] = None
    if reference in ("googlenet", "inception_v3"):
        options |= {"init_weights": True, "aux_logits": False}
    return lambda: zoo.get_model(reference, **options)


def _attribute(reference: str) -> Callable[[], object]:
    where, _, name = reference.rpartition(":")
    try:
        module = _from_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
        factory = getattr(module, name)
    except (ImportError, AttributeError, OSError, SyntaxError) as error:
        raise ModelError(f"{reference!r} could not be imported: {type(error).__name__}: {error}") from error
    if not callable(factory):
        raise ModelError(f"{reference!r} is not a function that makes a model.")
    made: Callable[[], object] = factory
    return made


def _from_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"edgebudget_model_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _timm() -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise MissingExtraError("timm", "timm", "A model of timm") from error
    module: ModuleType = timm
    return module
