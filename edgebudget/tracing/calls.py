"""Which modules a forward called, in order, with the shapes that went in and came out."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from edgebudget.tracing.values import name_of, tensors_in


@dataclass(frozen=True, slots=True)
class Shape:
    """A tensor's shape and dtype, as `1x3x224x224:float32`."""

    sizes: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{'x'.join(map(str, self.sizes)) or 'scalar'}:{self.dtype}"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the module at `path`: the tensors among its arguments, and in what it returned."""

    path: str
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]


@contextmanager
def record_calls(model: nn.Module) -> Iterator[list[Call]]:
    """Yield a list that fills with the calls of `model`'s modules while it runs, parents before children.

    A module that stands in several places goes by the first of its paths. A call that fails leaves nothing. Where the
    model runs several times, as it does while a trace learns, the last counts.
    """
    paths: Mapping[int, str] = {id(module): path for path, module in model.named_modules()}
    begun: list[Call | None] = []
    open_calls: list[tuple[int, int]] = []
    calls: list[Call] = []

    def begin(module: nn.Module, args: object) -> None:
        if module is model and not open_calls:
            begun.clear()
        if id(module) in paths:
            open_calls.append((id(module), len(begun)))
            begun.append(None)

    def end(module: nn.Module, args: object, kwargs: object, result: object) -> None:
        if id(module) in paths:
            while open_calls[-1][0] != id(module):  # what an exception, caught inside the model, left open
                open_calls.pop()
            _, place = open_calls.pop()
            begun[place] = Call(paths[id(module)], _shapes((args, kwargs)), _shapes(result))

    hooks = [register_module_forward_pre_hook(begin), register_module_forward_hook(end, with_kwargs=True)]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()
        calls.extend(call for call in begun if call is not None)


def _shapes(value: object) -> tuple[Shape, ...]:
    return tuple(Shape(tuple(tensor.shape), name_of(tensor.dtype)) for tensor in tensors_in(value) if _is_plain(tensor))


def _is_plain(tensor: torch.Tensor) -> bool:
    return not tensor.is_nested
