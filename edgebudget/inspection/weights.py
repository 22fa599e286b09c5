"""Real weights from a file, read safely: how many elements of each are zero."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgebudget.errors import MissingExtraError, ModelError

if TYPE_CHECKING:
    import torch

_WRAPPERS = ("state_dict", "model_state_dict", "model")


@dataclass(frozen=True, slots=True)
class WeightCount:
    """One tensor of a state dict: its elements, and how many are zero."""

    numel: int
    zero_numel: int


def load_weight_counts(path: Path) -> Mapping[str, WeightCount]:
    """Return the elements and zeros of each tensor in a state dict: `.safetensors`, or what `torch.save` wrote.

    Nothing in the file is executed (`weights_only=True`). Raises ModelError where there is no such file, or it holds no
    state dict, MissingExtraError without the package `safetensors`.
    """
    if not path.is_file():
        raise ModelError(f"There is no file {path}.", "Give --weights a state dict: state.pt or model.safetensors.")
    tensors = _from_safetensors(path) if path.suffix == ".safetensors" else _from_torch(path)
    return {
        name.removeprefix("module."): WeightCount(tensor.numel(), tensor.numel() - int(tensor.count_nonzero()))
        for name, tensor in tensors.items()
    }


def _from_safetensors(path: Path) -> "dict[str, torch.Tensor]":
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError:
        raise MissingExtraError("safetensors", "safetensors", f"Reading {path}") from None
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path} is not a safetensors file: {error}.", "Write it with safetensors.") from error


def _from_torch(path: Path) -> "dict[str, torch.Tensor]":
    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=None)
    except Exception as error:  # a pickle can fail in any way; none of it is executed
        first = str(error).strip().split("\n")[0][:200]
        raise ModelError(
            f"{path} cannot be read as weights only: {type(error).__name__}: {first}",
            "Save the state dict: torch.save(model.state_dict(), 'state.pt').",
        ) from error
    for key in _WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    tensors = {k: v for k, v in found.items() if isinstance(v, torch.Tensor)} if isinstance(found, dict) else {}
    if not tensors:
        raise ModelError(f"{path} holds no state dict.", "Save one: torch.save(model.state_dict(), 'state.pt').")
    return tensors
