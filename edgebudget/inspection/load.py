"""From a model's name to its inspection: builds and traces it once, with its calls."""

from collections.abc import Sequence
from pathlib import Path

from edgebudget.dtypes import DTYPES
from edgebudget.errors import ModelError, UsageError
from edgebudget.inputs import InputSpec
from edgebudget.inspection.layers import Inspection, inspect_graph


def inspect_model(
    model: str,
    dtypes: Sequence[str],
    inputs: Sequence[InputSpec] = (),
    batch: int | None = None,
    weights: Path | None = None,
) -> Inspection:
    """Return the layers of the model that a reference names, with bytes under each of `dtypes`.

    Raises what loading and tracing raise, and ModelError for weights that share no name with the model.
    """
    from edgebudget.sources import load_model
    from edgebudget.tracing import trace
    from edgebudget.tracing.calls import record_calls

    if not dtypes:
        raise UsageError("No dtype was named.", "Name at least one, for example --dtype float32.")
    for dtype in dtypes:
        DTYPES.get(dtype)
    counts = None
    if weights is not None:
        from edgebudget.inspection.weights import load_weight_counts

        counts = load_weight_counts(weights)
    loaded = load_model(model, inputs, batch)
    with record_calls(loaded.module) as calls:
        graph = trace(
            loaded.module, loaded.args, loaded.kwargs, name=loaded.name, allow_truncation=loaded.allow_truncation
        )
    if counts is not None and graph.parameters:
        for name, storages in graph.parameters.items():
            numel = sum(graph.storages[s].numel for s in storages)
            if name in counts and counts[name].numel != numel:
                raise ModelError(
                    f"{weights}: {name} has {counts[name].numel:,} elements, in {model} it has {numel:,}.",
                    "Give the state dict of this very model.",
                )
        if not counts.keys() & graph.parameters.keys():
            raise ModelError(
                f"{weights} shares no name with {model}: it has {next(iter(counts))}, the model "
                f"{next(iter(graph.parameters))}.",
                "Give the state dict of this very model.",
            )
    return inspect_graph(model, graph, calls, dtypes, counts)
