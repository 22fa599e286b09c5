"""The size of the images that a model is fed."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from edgebudget.sources.interface import LoadedModel


def image_size(loaded: LoadedModel) -> tuple[int, int] | None:
    """Return height and width of the first input that is an image: floating-point, of four dimensions."""
    for argument in loaded.args:
        shape = [int(size) for size in getattr(argument, "shape", ())]
        if len(shape) == 4:
            return (shape[2], shape[3])
    return None


def with_image_size(loaded: LoadedModel, size: Sequence[int], new: Sequence[int]) -> LoadedModel:
    """Return the model with every input of the size `size` made `new`."""
    args = tuple(
        torch.empty((*a.shape[:-2], *new), dtype=a.dtype, device="meta")
        if isinstance(a, torch.Tensor) and a.dim() == 4 and tuple(a.shape[-2:]) == tuple(size)
        else a
        for a in loaded.args
    )
    return replace(loaded, args=args)
