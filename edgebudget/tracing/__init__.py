"""An `nn.Module` and example inputs to a `TracedGraph`, without weights and without computing anything."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from edgebudget.errors import DataDependentError, TraceError
from edgebudget.graph import Role, TracedGraph, Truncation
from edgebudget.tracing.guards import (
    failed_in,
    place,
    refuse_autocast,
    refuse_reads,
    refuse_unswappable,
    run_eagerly,
    uncollected,
)
from edgebudget.tracing.recorder import Recorder
from edgebudget.tracing.rules import RAN, Learned
from edgebudget.tracing.values import DataRead, Twins, map_tensors, name_of
from edgebudget.tracing.weights import WeightsOnMeta

__all__ = ["trace"]


def trace(
    model: nn.Module,
    args: Sequence[object] = (),
    kwargs: Mapping[str, object] | None = None,
    *,
    name: str = "",
    allow_truncation: bool = False,
) -> TracedGraph:
    """Return what `model(*args, **kwargs)` runs in inference: operators, tensors, storages, lifetimes.

    Nothing is computed and no weight is read: weights and inputs are replaced by tensors on the meta device for the
    time of the trace, so tensors on meta are enough. The model is traced in evaluation mode and left as it was.
    With `allow_truncation`, a model that reads data is traced up to that operator and `truncation` says so.

    Raises DataDependentError where the forward depends on the values of a tensor, TraceError where it fails otherwise;
    both name the module and the operator.
    """
    name = name or type(model).__name__
    with uncollected():
        ran = len(RAN)
        graph = _trace(model, args, kwargs or {}, name, allow_truncation)
        if len(RAN) == ran:
            return graph
        return _trace(model, args, kwargs or {}, name, allow_truncation)


def _trace(
    model: nn.Module, args: Sequence[object], kwargs: Mapping[str, object], name: str, allow_truncation: bool
) -> TracedGraph:
    modules: dict[str, nn.Module] = {}
    _collect(model, "", modules, set())
    refuse_unswappable(name, modules)
    Learned.forget_other_defaults()
    recorder = Recorder()
    truncation: Truncation | None = None
    weights = WeightsOnMeta(recorder)
    with weights.within(modules):
        twins = Twins()
        inputs: list[int] = []

        def adopt(value: torch.Tensor) -> torch.Tensor:
            twin = twins.of(value)
            inputs.extend(recorder.adopt(twin, Role.INPUT, f"input {len(inputs)}"))
            return twin

        meta_args = [map_tensors(adopt, arg) for arg in args]
        meta_kwargs = {key: map_tensors(adopt, arg) for key, arg in kwargs.items()}
        outputs: tuple[int, ...] = ()
        try:
            with (
                run_eagerly(modules),
                refuse_autocast(),
                refuse_reads(recorder.has_values),
                torch.inference_mode(),
                recorder,
            ):
                result = model(*meta_args, **meta_kwargs)
            outputs = recorder.result_ids(result)
        except DataRead as read:
            error = _data_dependent(name, modules, failed_in(read), read.target)
            if not allow_truncation:
                raise error from None
            truncation = Truncation(failed_in(read), read.target, "depends on the values of tensors")
        except TraceError as refusal:
            where = place(modules, failed_in(refusal))
            raise TraceError(f"{name}: in {where}: {refusal.message}", refusal.hint) from None
        except Exception as failure:
            raise _explain(name, modules, failed_in(failure), recorder.attempt, failure) from failure
        storages = recorder.storages()
    return TracedGraph(
        name=name,
        storages=storages,
        tensors=tuple(recorder.tensors),
        ops=tuple(recorder.ops),
        inputs=tuple(inputs),
        outputs=outputs,
        parameters=weights.parameters,
        buffers=weights.buffers,
        modules={path: type(module).__name__ for path, module in modules.items()},
        truncation=truncation,
    )


def _collect(module: nn.Module, path: str, found: dict[str, nn.Module], seen: set[int]) -> None:
    """Fill `found` with `module` and each in it once, by its first dotted path, parents before children."""
    seen.add(id(module))
    found[path] = module
    prefix = f"{path}." if path else ""
    for name, child in module._modules.items():
        if child is None or id(child) in seen:
            continue
        if child._modules:
            _collect(child, prefix + name, found, seen)
        else:
            seen.add(id(child))
            found[prefix + name] = child


def _data_dependent(name: str, modules: Mapping[str, nn.Module], path: str, target: str) -> DataDependentError:
    return DataDependentError(
        f"{name}: {place(modules, path)} reads the values of a tensor at {target}, "
        "and a trace without weights has none.",
        "Move what depends on values (post-processing, early exits) out of the forward, or trace the part before it.",
    )


def _explain(
    name: str, modules: Mapping[str, nn.Module], path: str, attempt: object, failure: Exception
) -> DataDependentError | TraceError:
    target = name_of(attempt) if attempt else "its first operator"
    text = " ".join(str(failure).split())
    if "meta tensor" in text or "no data" in text:
        return _data_dependent(name, modules, path, target)
    return TraceError(
        f"{name}: {place(modules, path)} failed at or after {target}: {type(failure).__name__}: {text[:300]}",
        "Check the input's shape and dtype (--input 1x3x224x224:float32) against what the model takes.",
    )
