"""Where models come from, one file a kind of reference."""

from collections.abc import Sequence
from dataclasses import replace

from edgebudget.errors import ModelError
from edgebudget.inputs import InputSpec
from edgebudget.registry import Registry
from edgebudget.sources.interface import LoadedModel, Source

SOURCES: Registry[Source] = Registry("edgebudget.sources", "SOURCE", "source of models")

__all__ = ["SOURCES", "LoadedModel", "Source", "load_model"]


def load_model(reference: str, inputs: Sequence[InputSpec] = (), batch: int | None = None) -> LoadedModel:
    """Return the model that `reference` names, ready to trace, with its weights on meta wherever possible.

    `inputs` replaces the shapes that the source knows, `batch` the first dimension of every input, or
    the number of images where the model takes a list of them. Raises ModelError
    or UnknownNameError with what is wrong and what to do.
    """
    for _, source in SOURCES:
        if source.claims(reference):
            loaded = source.load(reference, inputs)
            break
    else:
        kinds = ", ".join(source.example for _, source in SOURCES)
        raise ModelError(f"{reference[:200]!r} is not a model reference.", f"Write one like: {kinds}.")
    if batch is None:
        return loaded
    if loaded.batch is not None:
        images = [image for argument in loaded.args if isinstance(argument, list) for image in argument[:1]]
        return replace(loaded, args=(images * batch,), batch=batch)
    from edgebudget.sources._examples import with_batch

    args = with_batch(loaded.args, batch, reference)
    kwargs = with_batch(dict(loaded.kwargs), batch, reference)
    assert isinstance(args, tuple)
    assert isinstance(kwargs, dict)
    return replace(loaded, args=args, kwargs=kwargs)
