"""Models that a function of the user's makes: `package.module:factory` or `path/to/file.py:factory`."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from edgebudget.errors import EdgeBudgetError, ModelError
from edgebudget.inputs import InputSpec
from edgebudget.registry import unknown_name
from edgebudget.sources.interface import LoadedModel

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class _Factory:
    example: str = "path/to/file.py:factory"

    def claims(self, reference: str) -> bool:
        return ":" in reference and not reference.startswith(("timm:", "torchvision:"))

    def names(self, prefix: str) -> tuple[str, ...]:
        """Return nothing: these references are paths and modules."""
        return ()

    def matching(self, pattern: str) -> Sequence[str]:
        """Return nothing: files cannot be listed without running them."""
        return ()

    def load(self, reference: str, inputs: Sequence[InputSpec]) -> LoadedModel:
        """Call the factory, which returns an `nn.Module` or `(module, example_inputs)`.

        Raises ModelError where the file, the module or the function is missing, the function raises, or it returns
        something else. The user's code runs, with the rights of this process.
        """
        from edgebudget.sources._construct import construct
        from edgebudget.sources._examples import from_returned, from_specs

        place, _, attribute = reference.rpartition(":")
        try:
            made = construct(lambda: _call(_find(place, attribute)))
        except EdgeBudgetError:
            raise
        except (Exception, SystemExit) as failure:
            raise ModelError(
                f"{reference} raised {type(failure).__name__}: {' '.join(str(failure).split())[:300]}",
                "Call it by hand to see where; it must return an nn.Module or (module, example_inputs).",
            ) from failure
        module, examples = _unpack(made, reference)
        args, kwargs = from_returned(examples, reference)
        if inputs:
            args, kwargs = from_specs(inputs, (args, kwargs)), {}
        if not args and not kwargs:
            raise ModelError(
                f"{reference} returns no example inputs, so the shapes of its inputs are not known.",
                "Give them with --input 1x3x224x224, once for each input, or return (module, example_inputs).",
            )
        return LoadedModel(reference, module.eval(), args, kwargs)


def _call(found: object) -> object:
    from torch import nn

    return found() if callable(found) and not isinstance(found, nn.Module) else found


def _unpack(made: object, reference: str) -> "tuple[nn.Module, object]":
    from torch import nn

    if isinstance(made, nn.Module):
        return made, ()
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], nn.Module):
        return made[0], made[1]
    raise ModelError(
        f"{reference} returned a {type(made).__name__}, not a model.",
        "Return an nn.Module, or (module, example_inputs).",
    )


def _find(place: str, attribute: str) -> object:
    module = _import_file(Path(place)) if place.endswith(".py") else _import_module(place)
    found: object = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            public = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
            raise unknown_name(f"factory in {place}:", attribute, public)
        found = getattr(found, part)
    return found


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ModelError(f"There is no file {path}.", "Write path/to/file.py:factory.")
    spec = importlib.util.spec_from_file_location(f"_edgebudget_model_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{path} cannot be imported as Python.", "Write path/to/file.py:factory.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    with _importable(str(path.resolve().parent)):
        spec.loader.exec_module(module)
    return module


def _import_module(name: str) -> ModuleType:
    with _importable(os.getcwd()):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as missing:
            if missing.name is None or not (name == missing.name or name.startswith(missing.name + ".")):
                raise
            raise ModelError(
                f"There is no Python module {name!r}.", "Write package.module:factory or path/to/file.py:factory."
            ) from None
        except (ValueError, TypeError):
            raise ModelError(
                f"{name!r} is not the name of a Python module.",
                "Write package.module:factory or path/to/file.py:factory.",
            ) from None


@contextmanager
def _importable(folder: str) -> Iterator[None]:
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


SOURCE = _Factory()
