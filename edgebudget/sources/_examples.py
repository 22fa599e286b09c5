"""Example inputs on meta: from shapes as users write them, or from what a factory returns."""

from collections.abc import Mapping, Sequence

import torch
from torch.utils._pytree import tree_leaves, tree_map

from edgebudget.errors import ModelError
from edgebudget.inputs import InputSpec
from edgebudget.tracing.values import META


def example(spec: InputSpec, default_dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return a tensor of `spec`'s shape on meta, of its dtype or else `default_dtype`."""
    dtype = getattr(torch, spec.dtype) if spec.dtype else default_dtype
    return torch.empty(spec.shape, dtype=dtype, device=META)


def from_specs(specs: Sequence[InputSpec], known: object = ()) -> tuple[torch.Tensor, ...]:
    """Return one tensor a spec; where a spec names no dtype, that of the tensor at its place among `known` holds."""
    dtypes = [leaf.dtype for leaf in tree_leaves(known) if isinstance(leaf, torch.Tensor)]
    return tuple(example(spec, dtypes[i] if i < len(dtypes) else torch.float32) for i, spec in enumerate(specs))


def from_returned(returned: object, reference: str) -> tuple[tuple[object, ...], Mapping[str, object]]:
    """Return the positional and keyword arguments that a factory's example inputs stand for.

    A tensor is one argument, a tuple or list several, a mapping keyword arguments. Raises ModelError otherwise.
    """
    if isinstance(returned, torch.Tensor):
        return (returned,), {}
    if isinstance(returned, Mapping) and all(isinstance(key, str) for key in returned):
        return (), {str(key): value for key, value in returned.items()}
    if isinstance(returned, tuple | list):
        return tuple(returned), {}
    raise ModelError(
        f"The example inputs that {reference} returns are a {type(returned).__name__}.",
        "Return (module, example_inputs) with a tensor, a tuple of tensors, or a dict of keyword arguments.",
    )


def with_batch(value: object, batch: int, reference: str) -> object:
    """Return `value` with the first dimension of every tensor in it set to `batch`.

    Raises ModelError where a tensor has no dimension to set.
    """

    def resize(leaf: object) -> object:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        if leaf.dim() == 0:
            raise ModelError(
                f"{reference} takes an input without dimensions, which has no batch.", "Leave out --batch."
            )
        return torch.empty((batch, *leaf.shape[1:]), dtype=leaf.dtype, device=META)

    return tree_map(resize, value)


def with_image_size(args: tuple[object, ...], size: tuple[int, int], reference: str) -> tuple[object, ...]:
    """Return `args` with the height and width of every image in it made `size`.

    Images are floating-point tensors of four dimensions or more, and of three in a list, as detection models take
    them. Raises ModelError where there is none.
    """

    def is_image(leaf: object, dims: int) -> bool:
        return isinstance(leaf, torch.Tensor) and leaf.is_floating_point() and leaf.dim() >= dims

    def resize(value: object, dims: int) -> object:
        if isinstance(value, list):
            return [resize(item, 3) for item in value]
        if not is_image(value, dims):
            return value
        assert isinstance(value, torch.Tensor)
        return torch.empty((*value.shape[:-2], *size), dtype=value.dtype, device=META)

    if not any(is_image(leaf, 3 if isinstance(a, list) else 4) for a in args for leaf in tree_leaves(a)):
        raise ModelError(f"{reference} takes no image, so it has no resolution.", "Leave the resolution out for it.")
    return tuple(resize(argument, 4) for argument in args)
