"""Dtype options, one file each."""

from weakref import WeakKeyDictionary

from edgebudget.dtypes.interface import Assignment, DtypeOption, Held
from edgebudget.graph import TracedGraph
from edgebudget.registry import Registry

DTYPES: Registry[DtypeOption] = Registry("edgebudget.dtypes", "OPTION", "dtype")
_ASSIGNED: WeakKeyDictionary[TracedGraph, dict[str, Assignment]] = WeakKeyDictionary()

__all__ = ["DTYPES", "Assignment", "DtypeOption", "Held", "assign"]


def assign(option: DtypeOption, graph: TracedGraph) -> Assignment:
    """Return `option.assign(graph)`, made once: an estimate and its runtime ask for the same."""
    made = _ASSIGNED.setdefault(graph, {})
    if option.name not in made:
        made[option.name] = option.assign(graph)
    return made[option.name]
