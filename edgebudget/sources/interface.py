"""Where models come from: a reference in, a module without weights and its example inputs out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from edgebudget.inputs import InputSpec

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class LoadedModel:
    """A module to trace with `module(*args, **kwargs)`; its weights are on meta wherever its constructor allows.

    `allow_truncation` says that the front of the model is worth an answer where the rest depends on data: detection
    models, whose post-processing does. `batch` is how many samples the inputs hold where their first dimension does not
    say: detection models take a list of images.
    """

    name: str
    module: "nn.Module"
    args: tuple[object, ...]
    kwargs: Mapping[str, object] = field(default_factory=dict)
    allow_truncation: bool = False
    batch: int | None = None


class Source(Protocol):
    """One kind of model reference. Registered by its file's name."""

    @property
    def example(self) -> str:
        """A reference of this kind, for help texts."""
        ...

    def claims(self, reference: str) -> bool:
        """Whether `reference` is of this kind, judged by its form alone."""
        ...

    def names(self, prefix: str) -> Iterable[str]:
        """Return the references of this kind that start with `prefix`, for a shell to offer, without importing a
        package of models; none where they cannot be listed."""
        ...

    def matching(self, pattern: str) -> Sequence[str]:
        """Return the references of this kind that the glob `pattern` stands for, without making any of them.

        Empty where the kind cannot be listed or the pattern is not of it. Raises MissingExtraError.
        """
        ...

    def load(self, reference: str, inputs: Sequence[InputSpec]) -> LoadedModel:
        """Return the model; `inputs` are the user's shapes, empty where the source must know them.

        Raises ModelError with what is wrong and what to do.
        """
        ...
