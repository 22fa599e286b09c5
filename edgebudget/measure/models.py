"""Models built for real, with seeded random weights: what a runtime is given to measure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch

from edgebudget.errors import ModelError
from edgebudget.inputs import parse_input
from edgebudget.sources import LoadedModel, load_model
from edgebudget.sources._construct import with_weights

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
    """Return the model that `reference` names, with weights as if trained, and inputs of `shapes`
    (`1x3x224x224:float32`).

    Raises ModelError or UnknownNameError when there is no such model or it cannot be built.
    """
    module = build_module(reference, shapes)
    scatter_weights(module)
    return BuiltModel(module, example_inputs(shapes))


def build_module(reference: str, shapes: Sequence[str]) -> torch.nn.Module:
    """Return the model without inputs: nothing is allocated but what it holds. Raises as `build_model` does."""
    with with_weights(SEED):
        return _load(reference, shapes).module


def scatter_weights(module: torch.nn.Module) -> None:
    """Change every parameter and running statistic of `module` a little, so that no two are equal and none is constant.

    A fresh model has equal layers (`nn.TransformerEncoder` copies one), zero biases and statistics that do nothing.
    Exporters store equal constants once and drop zeros, which a trained model gives them no occasion for.
    """
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.is_floating_point():
                spread = float(parameter.std()) if parameter.numel() > 1 else 0.0
                parameter.add_(_noise(parameter, generator) * (spread or 1.0))
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.add_(_noise(buffer, generator))
            elif name.endswith("running_var"):
                buffer.mul_(_noise(buffer, generator).exp())


def _noise(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return (torch.randn(like.shape, generator=generator) * 0.05).to(like.dtype)


def input_shapes(reference: str, shapes: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the shapes of a model's inputs in full, `1x3x224x224:float32`: those given, or else its own.

    Builds the model without weights, and so imports all it needs. Raises ModelError or UnknownNameError when there is
    no such model, it cannot be built, or its inputs are not tensors given by position.
    """
    loaded = _load(reference, shapes)
    if loaded.kwargs or not all(isinstance(argument, torch.Tensor) for argument in loaded.args):
        raise ModelError(
            f"{reference} takes more than tensors given by position, which no runtime here can be fed.",
            "Wrap it in a module that does, and name that with path/to/file.py:factory.",
        )
    return tuple(_text(argument) for argument in cast(tuple[torch.Tensor, ...], loaded.args))


def example_inputs(shapes: Sequence[str]) -> tuple[torch.Tensor, ...]:
    """Return seeded inputs: normally distributed, or zeros, an index that always fits, where the type is no float.

    Raises UsageError for what is not written like a shape.
    """
    generator = torch.Generator().manual_seed(SEED)
    tensors = []
    for spec in map(parse_input, shapes):
        dtype = getattr(torch, spec.dtype or "float32")
        if dtype.is_floating_point:
            tensors.append(torch.randn(spec.shape, generator=generator).to(dtype))
        else:
            tensors.append(torch.zeros(spec.shape, dtype=dtype))
    return tuple(tensors)


def _load(reference: str, shapes: Sequence[str]) -> LoadedModel:
    return load_model(reference, [parse_input(shape) for shape in shapes])


def _text(tensor: torch.Tensor) -> str:
    return "x".join(str(size) for size in tensor.shape) + ":" + str(tensor.dtype).removeprefix("torch.")
