"""Dtype options, one file each."""

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from edgebudget.dtypes.interface import Assignment, DtypeOption, Held
from edgebudget.graph import TracedGraph, once_per_graph
from edgebudget.registry import Registry

T = TypeVar("T")


class _DtypeRegistry(Registry[DtypeOption]):
    """The options by name; a path to a YAML file is an option of its own, mixed of others."""

    def get(self, name: str) -> DtypeOption:
        """Return the option called `name`, or the one in the file `name`; raises UsageError for what is wrong there."""
        if not name.endswith((".yaml", ".yml")):
            return super().get(name)
        from edgebudget.dtypes._mixed_file import load_mixed  # YAML and its schema, which plain names do not need

        return load_mixed(name)


DTYPES = _DtypeRegistry("edgebudget.dtypes", "OPTION", "dtype")

__all__ = ["DTYPES", "Assignment", "DtypeOption", "Held", "assign", "once_per_option"]


def once_per_option(
    compute: Callable[[TracedGraph, DtypeOption], T],
) -> Callable[[TracedGraph, DtypeOption], T]:
    """Have `compute`, which is pure, run once for each graph and option: kept for as long as the graph is.

    What it returns must not hold the graph, which would keep it alive.
    """

    @once_per_graph
    def made(graph: TracedGraph) -> dict[str, T]:
        return {}

    @wraps(compute)
    def computed(graph: TracedGraph, option: DtypeOption) -> T:
        known = made(graph)
        if option.name not in known:
            known[option.name] = compute(graph, option)
        return known[option.name]

    return computed


def assign(option: DtypeOption, graph: TracedGraph) -> Assignment:
    """Return `option.assign(graph)`, made once: an estimate and its runtime ask for the same."""
    made = _assigned(graph)
    if option.name not in made:
        made[option.name] = option.assign(graph)
    return made[option.name]


@once_per_graph
def _assigned(graph: TracedGraph) -> dict[str, Assignment]:
    return {}
