"""The same module, traced with other inputs."""

from collections.abc import Sequence
from dataclasses import replace

from edgebudget.fitting.interface import Case
from edgebudget.sources.interface import LoadedModel


def trace_again(case: Case, loaded: LoadedModel) -> Case:
    """Return `case` with `loaded` in its place, traced; raises TraceError where it does not run so."""
    from edgebudget.tracing import trace  # needs torch

    graph = trace(loaded.module, loaded.args, loaded.kwargs, name=loaded.name, allow_truncation=loaded.allow_truncation)
    return replace(case, loaded=loaded, graph=graph)


def with_leading(case: Case, batch: int) -> LoadedModel:
    """Return the model with inputs of another batch; raises UsageError where an input has none."""
    from edgebudget.sources._examples import with_batch

    args = with_batch(case.loaded.args, batch, case.model)
    assert isinstance(args, tuple)
    return replace(case.loaded, args=args)


def image_size(loaded: LoadedModel) -> tuple[int, int] | None:
    """Return height and width of the first input that is an image: floating-point, of four dimensions."""
    for argument in loaded.args:
        shape = [int(size) for size in getattr(argument, "shape", ())]
        if len(shape) == 4:
            return (shape[2], shape[3])
    return None


def with_image_size(loaded: LoadedModel, size: Sequence[int], new: Sequence[int]) -> LoadedModel:
    """Return the model with every input of the size `size` made `new`."""
    import torch

    args = tuple(
        torch.empty((*a.shape[:-2], *new), dtype=a.dtype, device="meta")
        if isinstance(a, torch.Tensor) and a.dim() == 4 and tuple(a.shape[-2:]) == tuple(size)
        else a
        for a in loaded.args
    )
    return replace(loaded, args=args)
