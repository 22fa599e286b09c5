"""Where models come from, one file a kind of reference."""

from collections.abc import Sequence
from dataclasses import replace

from edgebudget.errors import ModelError
from edgebudget.inputs import InputSpec
from edgebudget.registry import Registry
from edgebudget.sources.interface import LoadedModel, Source

SOURCES: Registry[Source] = Registry("edgebudget.sources", "SOURCE", "source of models")

__all__ = ["SOURCES", "LoadedModel", "Source", "expand_models", "load_model"]


def expand_models(patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the references that `patterns` stand for, each once, in order; what is no glob stands for itself.

    Raises ModelError for a glob that matches nothing, MissingExtraError where its zoo is not installed.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        if not any(sign in pattern for sign in "*?["):
            found[pattern] = None
            continue
        matches = [reference for _, source in SOURCES for reference in source.matching(pattern)]
        if not matches:
            raise ModelError(
                f"{pattern[:200]!r} matches no model.", "Write a glob like 'torchvision:resnet*' or 'timm:mobile*'."
            )
        found |= dict.fromkeys(matches)
    return tuple(found)


def load_model(
    reference: str,
    inputs: Sequence[InputSpec] = (),
    batch: int | None = None,
    image_size: tuple[int, int] | None = None,
) -> LoadedModel:
    """Return the model that `reference` names, ready to trace, with its weights on meta wherever possible.

    `inputs` replaces the shapes that the source knows, `image_size` the height and width of every image among them,
    `batch` the first dimension of every input, or the number of images where the model takes a list of them. Raises
    ModelError or UnknownNameError with what is wrong and what to do.
    """
    for _, source in SOURCES:
        if source.claims(reference):
            loaded = source.load(reference, inputs)
            break
    else:
        kinds = ", ".join(source.example for _, source in SOURCES)
        raise ModelError(f"{reference[:200]!r} is not a model reference.", f"Write one like: {kinds}.")
    if image_size is not None:
        from edgebudget.sources._examples import with_image_size

        loaded = replace(loaded, args=with_image_size(loaded.args, image_size, reference))
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
