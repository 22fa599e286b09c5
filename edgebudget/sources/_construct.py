"""Run a model's constructor without giving its weights any memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from contextvars import ContextVar
from typing import TypeVar
from unittest.mock import patch

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from edgebudget.tracing.values import (
    META,
    DataRead,
    Operator,
    grows_too_much,
    is_dense,
    makes_too_much,
    meta_twin,
    run_on_meta,
)

T = TypeVar("T")
_real: ContextVar[bool] = ContextVar("real", default=False)


def construct(build: Callable[[], T]) -> T:
    """Return `build()`, with parameters and buffers on meta as soon as a module registers them.

    Initialisation is silenced and large tensors are made on meta; small ones are real, since constructors read them
    (`torch.linspace(...).tolist()` for drop rates). A constructor that this breaks runs once more as it is. What it
    prints goes to stderr: stdout is for results. Within `with_weights` it runs as it is at once. Raises what `build`
    raises.
    """
    import sys

    with redirect_stdout(sys.stderr):
        if _real.get():
            return build()
        try:
            with without_weights():
                return build()
        except (Exception, DataRead):
            return build()


@contextmanager
def with_weights(seed: int) -> Iterator[None]:
    """Within: `construct` makes models with real, random weights, the same each time. For what runs them."""
    token = _real.set(True)
    try:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            yield
    finally:
        _real.reset(token)


@contextmanager
def without_weights() -> Iterator[None]:
    """Within: tensors that modules register lose their data, `torch.nn.init` does nothing, big tensors go to meta."""
    register_parameter, register_buffer = nn.Module.register_parameter, nn.Module.register_buffer
    twins: dict[int, tuple[nn.Parameter, nn.Parameter]] = {}  # a parameter registered twice stays one

    def parameter_on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None and _has_data(parameter):
            if id(parameter) not in twins:
                twins[id(parameter)] = (parameter, _parameter_twin(parameter))
            parameter = twins[id(parameter)][1]
        register_parameter(module, name, parameter)

    def buffer_on_meta(module: nn.Module, name: str, tensor: torch.Tensor | None, persistent: bool = True) -> None:
        twin = meta_twin(tensor) if tensor is not None and _has_data(tensor) else tensor
        register_buffer(module, name, twin, persistent)

    with ExitStack() as stack:
        stack.enter_context(patch.object(nn.Module, "register_parameter", parameter_on_meta))
        stack.enter_context(patch.object(nn.Module, "register_buffer", buffer_on_meta))
        for name in vars(nn.init):
            if name.endswith("_") and not name.startswith("_"):
                stack.enter_context(patch.object(nn.init, name, _leave))
        stack.enter_context(_LargeOnMeta())  # type: ignore[no-untyped-call]
        yield


class _LargeOnMeta(TorchDispatchMode):
    """Makes large tensors on meta, and lets operators mix them with small real ones."""

    def __torch_dispatch__(
        self,
        func: Operator,
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if any(tensor.is_meta for tensor in tensors):
            return run_on_meta(func, args, kwargs)
        if not tensors and makes_too_much(func, args, kwargs):
            return run_on_meta(func, args, {**kwargs, "device": META})
        if tensors and grows_too_much(func, args, kwargs):
            return run_on_meta(func, args, kwargs)
        return func(*args, **kwargs)


def _leave(tensor: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
    return tensor


def _has_data(tensor: torch.Tensor) -> bool:
    return is_dense(tensor) and not tensor.is_meta and not nn.parameter.is_lazy(tensor)


def _parameter_twin(parameter: nn.Parameter) -> nn.Parameter:
    twin = nn.Parameter(meta_twin(parameter), requires_grad=parameter.requires_grad)
    twin.__dict__.update(parameter.__dict__)
    return twin
