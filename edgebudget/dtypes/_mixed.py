"""Different options for different modules of one model."""

import difflib
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

from edgebudget.dtypes.interface import Assignment, DtypeOption, Held
from edgebudget.errors import UsageError
from edgebudget.graph import TracedGraph


@dataclass(frozen=True)
class MixedOption:
    """`parts` maps globs over module names to options, `default` is for what no glob matches.

    A glob covers the modules it matches and everything in them; of several that match, the last one decides.
    """

    name: str
    default: DtypeOption
    parts: Mapping[str, DtypeOption]

    @cached_property
    def options(self) -> Mapping[str, DtypeOption]:
        """The options it is made of, by name."""
        return {option.name: option for option in (self.default, *self.parts.values())}

    @property
    def element_dtypes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(dtype for option in self.options.values() for dtype in option.element_dtypes))

    @property
    def description(self) -> str:
        parts = ", ".join(f"{option.name} for {glob}" for glob, option in self.parts.items())
        return f"{parts}, and {self.default.name} for the rest, as {self.name} says."

    def by_operator(self, graph: TracedGraph) -> tuple[str, ...]:
        """Return the option of each operator; raises UsageError for a glob that no module of `graph` matches."""
        by_module: dict[str, str] = {}
        modules = {*graph.modules, *(op.module for op in graph.ops)}
        used: set[str] = set()
        for module in modules:
            by_module[module] = self.default.name
            for glob, option in self.parts.items():
                if any(fnmatchcase(path, glob) for path in _with_parents(module)):
                    by_module[module] = option.name
                    used.add(glob)
        for glob in self.parts:
            if glob not in used:
                raise self._unmatched(glob, modules)
        return tuple(by_module[op.module] for op in graph.ops)

    def assign(self, graph: TracedGraph) -> Assignment:
        """Return each storage as the option of what makes or reads it holds it; a weight that operators under several
        options read is held once for each."""
        return self.assign_part(graph, range(len(graph.ops)))

    def assign_part(self, graph: TracedGraph, operators: Container[int]) -> Assignment:
        """Return `assign` for `operators` only."""
        options = self.by_operator(graph)
        made: dict[str, Assignment] = {}
        for name, option in self.options.items():
            part = frozenset(index for index, own in enumerate(options) if own == name and index in operators)
            made[name] = option.assign_part(graph, part)
        users: dict[int, dict[str, None]] = {}
        for op in graph.ops:
            for t in (*op.outputs, *op.inputs):
                users.setdefault(graph.tensors[t].storage, {})[options[op.index]] = None
        held = [made[self.default.name].held[s.id] for s in graph.storages]
        for storage in graph.storages:
            ways = [made[name].held[storage.id] for name in users.get(storage.id, ())]
            if ways and storage.role.is_weight:
                held[storage.id] = _together(list(dict.fromkeys(ways)))
            elif ways:
                held[storage.id] = ways[0]  # what makes it
        covered = frozenset().union(*(assignment.covered for assignment in made.values()))
        return Assignment.of(self.name, held, covered)

    def _unmatched(self, glob: str, modules: Iterable[str]) -> UsageError:
        named = sorted(module for module in modules if module)
        near = difflib.get_close_matches(glob, named, n=3, cutoff=0.4)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"Its modules: {', '.join(named[:8])}, ..."
        return UsageError(f"{self.name}: no module of the model matches {glob!r}.", hint)


def _with_parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _together(ways: list[Held]) -> Held:
    if len(ways) == 1:
        return ways[0]
    return Held(ways[0].dtype, sum(way.nbytes for way in ways), sum(way.quantization_nbytes for way in ways))
