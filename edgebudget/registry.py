"""Plug-ins by file: a module in a package is one entry, named after the file.

`edgebudget/dtypes/int8.py` defines `OPTION`, so `--dtype int8` exists; underscores in the file's name are hyphens in
the entry's. Listing names reads the folder only; a module is imported when its entry is asked for.
"""

import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Generic, TypeVar

from edgebudget.errors import UnknownNameError

_NOT_ENTRIES = {"interface"}

T = TypeVar("T")


class Registry(Generic[T]):
    """The entries of `package`: each public module but `interface` that defines `attribute`, an object of type `T`.

    Modules whose name starts with an underscore are helpers, not entries.
    """

    def __init__(self, package: str, attribute: str, what: str) -> None:
        self._package = package
        self._attribute = attribute
        self._what = what
        self._entries: dict[str, T] = {}

    @cached_property
    def _modules(self) -> dict[str, str]:
        spec = importlib.util.find_spec(self._package)
        paths = spec.submodule_search_locations if spec else None
        return {
            info.name.replace("_", "-"): f"{self._package}.{info.name}"
            for info in sorted(pkgutil.iter_modules(paths), key=lambda info: info.name)
            if not info.name.startswith("_") and info.name not in _NOT_ENTRIES
        }

    def names(self) -> list[str]:
        """Return the names of all entries, sorted, without importing them."""
        return list(self._modules)

    def get(self, name: str) -> T:
        """Return the entry called `name`; raises UnknownNameError with the nearest names."""
        if name not in self._entries:
            if name not in self._modules:
                raise unknown_name(self._what, name, self._modules)
            self._entries[name] = getattr(importlib.import_module(self._modules[name]), self._attribute)
        return self._entries[name]

    def __iter__(self) -> Iterator[tuple[str, T]]:
        for name in self._modules:
            yield name, self.get(name)


def unknown_name(what: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Return the error for a `name` that is not among `known`, with the nearest names as its hint."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    listed = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {listed}."
    return UnknownNameError(f"Unknown {what} {name[:200]!r}.", hint)
