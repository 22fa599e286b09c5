"""Models by their timm name: `timm:mobilenetv4_conv_small`."""

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

from edgebudget.errors import MissingExtraError
from edgebudget.inputs import InputSpec
from edgebudget.registry import unknown_name
from edgebudget.sources._registered import registered_names
from edgebudget.sources.interface import LoadedModel

PREFIX = "timm:"


@dataclass(frozen=True, slots=True)
class _Timm:
    example: str = "timm:mobilenetv4_conv_small"

    def claims(self, reference: str) -> bool:
        return reference.startswith(PREFIX)

    def names(self, prefix: str) -> list[str]:
        """Return timm's models once the prefix of their kind is written: there are a thousand."""
        if not prefix.startswith(PREFIX):
            return []
        return [name for model in registered_names("timm") if (name := PREFIX + model).startswith(prefix)]

    def matching(self, pattern: str) -> Sequence[str]:
        """Return the architectures that match, each once: their pretrained variants take the same memory.

        Raises MissingExtraError without timm.
        """
        if not pattern.startswith(PREFIX):
            return ()
        try:
            import timm
        except ImportError:
            raise MissingExtraError("timm", "timm", f"The models {pattern}") from None
        return [PREFIX + name for name in fnmatch.filter(timm.list_models(), pattern.removeprefix(PREFIX))]

    def load(self, reference: str, inputs: Sequence[InputSpec]) -> LoadedModel:
        """Return the named model with random weights, at the input size of its pretrained configuration.

        Raises MissingExtraError without timm.
        """
        try:
            import timm
            from timm.data import resolve_model_data_config
        except ImportError:
            raise MissingExtraError("timm", "timm", f"The model {reference}") from None

        from edgebudget.sources._construct import construct
        from edgebudget.sources._examples import example, from_specs

        name = reference.removeprefix(PREFIX)
        if not timm.is_model(name.split(".")[0]):
            raise unknown_name("timm model", name, timm.list_models())
        module = construct(lambda: timm.create_model(name, pretrained=False)).eval()
        if inputs:
            return LoadedModel(name, module, from_specs(inputs))
        size = resolve_model_data_config(module)["input_size"]
        return LoadedModel(name, module, (example(InputSpec((1, *size))),))


SOURCE = _Timm()
