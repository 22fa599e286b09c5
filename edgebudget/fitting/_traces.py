"""The same module, traced with other inputs."""

from dataclasses import replace

from edgebudget.fitting.interface import Case
from edgebudget.sources.interface import LoadedModel


def trace_again(case: Case, loaded: LoadedModel) -> Case:
    """Return `case` with `loaded` in its place, traced; raises TraceError where it does not run so."""
    from edgebudget.tracing import trace  # needs torch

    graph = trace(loaded.module, loaded.args, loaded.kwargs, name=loaded.name, allow_truncation=loaded.allow_truncation)
    return replace(case, loaded=loaded, graph=graph)


def with_leading(case: Case, batch: int) -> LoadedModel:
    """Return the model with inputs of another batch; raises UsageError where an input has none."""
    from edgebudget.sources._examples import with_batch

    args = with_batch(case.loaded.args, batch, case.model)
    assert isinstance(args, tuple)
    return replace(case.loaded, args=args)
