"""Dtype options, one file each."""

from edgebudget.dtypes.interface import Assignment, DtypeOption, Held
from edgebudget.graph import TracedGraph, once_per_graph
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

__all__ = ["DTYPES", "Assignment", "DtypeOption", "Held", "assign"]


def assign(option: DtypeOption, graph: TracedGraph) -> Assignment:
    """Return `option.assign(graph)`, made once: an estimate and its runtime ask for the same."""
    made = _assigned(graph)
    if option.name not in made:
        made[option.name] = option.assign(graph)
    return made[option.name]


@once_per_graph
def _assigned(graph: TracedGraph) -> dict[str, Assignment]:
    return {}
