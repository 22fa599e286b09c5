"""Run a model's constructor without giving its weights any memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from contextvars import ContextVar
from functools import wraps
from math import prod
from typing import TypeVar
from unittest.mock import patch

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from edgebudget.tracing.values import (
    META,
    REAL_NUMEL_LIMIT,
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
_without_dispatch = torch._C._DisableTorchDispatch
_active_modes = torch._C._len_torch_dispatch_stack
_PLAIN = frozenset({"device", "dtype"})
_RESET = (_ConvNd, _NormBase, nn.Linear, nn.LayerNorm)
_FACTORIES = ("empty", "zeros", "ones")
"""What layers make their weights with. Going by the dispatcher and back for each takes most of the time of a model."""


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
        twin = _twin(tensor) if tensor is not None and _has_data(tensor) else tensor
        register_buffer(module, name, twin, persistent)

    with ExitStack() as stack:
        stack.enter_context(patch.object(nn.Module, "register_parameter", parameter_on_meta))
        stack.enter_context(patch.object(nn.Module, "register_buffer", buffer_on_meta))
        for name in vars(nn.init):
            if name.endswith("_") and not name.startswith("_"):
                stack.enter_context(patch.object(nn.init, name, _leave))
        for layer in _RESET:
            stack.enter_context(patch.object(layer, "reset_parameters", _leave_layer))
        for name in _FACTORIES:
            stack.enter_context(patch.object(torch, name, _decided_at_once(getattr(torch, name))))
        stack.enter_context(patch.object(torch, "tensor", _made_at_once(torch.tensor)))
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


def _leave_layer(layer: nn.Module) -> None:
    """Leave the numbers in the weights of a new layer as they are: nobody reads them, and on meta there are none."""


def _leave(tensor: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
    return tensor


def _decided_at_once(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Return the factory `make`, which decides itself on what `_LargeOnMeta` would, wherever it is asked plainly."""

    @wraps(make)
    def made(*args: object, **kwargs: object) -> torch.Tensor:
        size = args[0] if len(args) == 1 and isinstance(args[0], (tuple, list)) else args
        if _active_modes() != 1 or not _PLAIN.issuperset(kwargs) or not all(n.__class__ is int for n in size):
            return make(*args, **kwargs)
        if prod(size) > REAL_NUMEL_LIMIT:
            kwargs["device"] = META
        with _without_dispatch():
            return make(*args, **kwargs)

    return made


def _made_at_once(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Return `torch.tensor`, which makes those of one number without asking `_LargeOnMeta`."""

    @wraps(make)
    def made(data: object, **kwargs: object) -> torch.Tensor:
        if _active_modes() != 1 or data.__class__ not in (int, float, bool):
            return make(data, **kwargs)
        with _without_dispatch():
            return make(data, **kwargs)

    return made


def _has_data(tensor: torch.Tensor) -> bool:
    return not tensor.is_meta and is_dense(tensor) and not nn.parameter.is_lazy(tensor)


def _twin(tensor: torch.Tensor) -> torch.Tensor:
    if _active_modes() != 1:
        return meta_twin(tensor)
    with _without_dispatch():
        return meta_twin(tensor)


def _parameter_twin(parameter: nn.Parameter) -> nn.Parameter:
    twin = nn.Parameter(_twin(parameter), requires_grad=parameter.requires_grad)
    twin.__dict__.update(parameter.__dict__)
    return twin
