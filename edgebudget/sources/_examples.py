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
