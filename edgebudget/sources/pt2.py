"""Exported programs: `path/model.pt2`, as `torch.export.save` writes them."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from unittest.mock import patch

from edgebudget.errors import ModelError
from edgebudget.inputs import InputSpec
from edgebudget.sources.interface import LoadedModel


class _UnsafeArchiveError(Exception):
    """The archive holds a pickle of arbitrary objects."""


@dataclass(frozen=True, slots=True)
class _Pt2:
    example: str = "path/model.pt2"

    def claims(self, reference: str) -> bool:
        return reference.endswith(".pt2")

    def names(self, prefix: str) -> tuple[str, ...]:
        """Return nothing: these references are paths and modules."""
        return ()

    def matching(self, pattern: str) -> Sequence[str]:
        """Return nothing: a file is named by its path."""
        return ()

    def load(self, reference: str, inputs: Sequence[InputSpec]) -> LoadedModel:
        """Return the program in the file, with the example inputs it was exported with.

        Raises ModelError where the file is missing, corrupt, made for other input shapes, or holds pickled objects,
        which are never loaded: unpickling runs code.
        """
        import torch

        from edgebudget.sources._examples import from_specs

        path = Path(reference)
        if not path.is_file():
            raise ModelError(f"There is no file {path}.", "Write it with torch.export.save(torch.export.export(...)).")
        try:
            with _no_pickles():
                program = torch.export.load(path)
            module = program.module(check_guards=False)
        except _UnsafeArchiveError:
            raise ModelError(
                f"{path} holds pickled objects, which could run any code when loaded.",
                "Export a model whose weights and constants are plain tensors.",
            ) from None
        except Exception as failure:
            raise ModelError(
                f"{path} is not a readable exported program: {' '.join(str(failure).split())[:200]}",
                f"Write it again with torch.export.save, from torch {torch.__version__} or a version near it.",
            ) from failure
        args, kwargs = program.example_inputs or ((), {})
        if inputs:
            args, kwargs = from_specs(inputs, (args, kwargs)), {}
        if not args and not kwargs:
            raise ModelError(f"{path} carries no example inputs.", "Give their shapes with --input 1x3x224x224.")
        return LoadedModel(path.stem, module, tuple(args), dict(kwargs))


@contextmanager
def _no_pickles() -> Iterator[None]:
    """Within: `torch.export.load` reads tensors and JSON only. It would unpickle custom objects and retry a failed
    safe load without the safety (torch/export/pt2_archive/_package.py, torch/_export/serde/serialize.py)."""
    import pickle

    import torch

    load = torch.load

    def load_tensors(*args: object, **kwargs: object) -> object:
        kwargs["weights_only"] = True
        try:
            return load(*args, **kwargs)  # type: ignore[arg-type]
        except pickle.UnpicklingError as refused:
            raise _UnsafeArchiveError from refused

    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise _UnsafeArchiveError

    with ExitStack() as stack:
        stack.callback(logging.disable, logging.root.manager.disable)
        logging.disable(logging.ERROR)  # torch logs the tracebacks of what it goes on to try in other ways
        stack.enter_context(patch.object(torch, "load", load_tensors))
        stack.enter_context(patch.object(torch._C, "_pickle_load_obj", refuse))
        stack.enter_context(patch.object(pickle, "loads", refuse))
        yield


SOURCE = _Pt2()
