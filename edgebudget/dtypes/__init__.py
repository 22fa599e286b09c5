"""Dtype options, one file each."""

from weakref import WeakKeyDictionary

from edgebudget.dtypes.interface import Assignment, DtypeOption, Held
from edgebudget.graph import TracedGraph
from edgebudget.registry import Registry


class _DtypeRegistry(Registry[DtypeOption]):
    """The options by name; a path to a YAML file is an option of its own, mixed of others."""

    def get(self, name: str) -> DtypeOption:
        """Return the option called `name`, or the one in the file `name`; raises UsageError for what is wrong there."""
        if not name.endswith((".yaml", ".yml")):
            return super().get(name)
        from edgebudget.dtypes._mixed_file import load_mixed  # YAML and its schema, which plain names do not need

        return load_mixed(name)


DTYPES = _DtypeRegistry("edgebudget.dtypes", "OPTION", "dtype")
_ASSIGNED: WeakKeyDictionary[TracedGraph, dict[str, Assignment]] = WeakKeyDictionary()

__all__ = ["DTYPES", "Assignment", "DtypeOption", "Held", "assign"]


def assign(option: DtypeOption, graph: TracedGraph) -> Assignment:
    """Return `option.assign(graph)`, made once: an estimate and its runtime ask for the same."""
    made = _ASSIGNED.setdefault(graph, {})
    if option.name not in made:
        made[option.name] = option.assign(graph)
    return made[option.name]
