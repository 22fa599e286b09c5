"""What is wrapped around PyTorch for the time of a forward: the path of the running module, and refusals.

A trace sees operators. What goes past them, such as `Tensor.tolist`, a cast that autocast would make, or weights that
TorchScript keeps to itself, is refused with its place rather than missed.
"""

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from edgebudget.errors import TraceError
from edgebudget.tracing.values import DataRead, is_dense

if TYPE_CHECKING:
    from edgebudget.tracing.recorder import Recorder

Mutable: TypeAlias = "dict[object, object] | list[object] | set[object]"
MADE_BY_MODULE = frozenset(nn.Module().__dict__)
_CHANGED_BY_FORWARD = frozenset({"_modules", "_non_persistent_buffers_set"})
SCALARS = frozenset({bool, int, float, str, tuple, type(None)})

# Of torch.Tensor: not operators, so that no dispatch mode sees them.
_READS = ("tolist", "numpy", "__array__", "__dlpack__", "__format__")


def tracked(recorder: "Recorder", path: str, forward: Callable[..., object]) -> Callable[..., object]:
    """Return `forward` such that `recorder.module` is `path` while it runs, and `failed_in` knows where it failed.

    It is to stand in an instance's attributes. A class attribute would do too, but setting one on `nn.Module` makes
    Python forget what it knows of each of its two thousand subclasses.
    """

    def tracked_forward(*args: object, **kwargs: object) -> object:
        caller = recorder.module
        recorder.module = path
        try:
            return forward(*args, **kwargs)
        except BaseException as failure:
            if not hasattr(failure, "_edgebudget_module"):
                failure._edgebudget_module = path  # type: ignore[attr-defined]
            raise
        finally:
            recorder.module = caller

    return tracked_forward


def failed_in(failure: BaseException) -> str:
    """Return the path of the innermost module that `failure` left; "" for the model itself."""
    return str(getattr(failure, "_edgebudget_module", ""))


def refuse_unswappable(name: str, modules: Mapping[str, nn.Module]) -> None:
    """Raise TraceError where a module's weights cannot be replaced: TorchScript's, and those that do not exist yet."""
    kinds = {module.__class__ for module in modules.values()}
    if not any(issubclass(kind, (torch.jit.ScriptModule, LazyModuleMixin)) for kind in kinds):
        return
    for path, module in modules.items():
        if isinstance(module, torch.jit.ScriptModule):
            raise TraceError(
                f"{name}: {place(modules, path)} is TorchScript, which keeps its weights out of reach of a trace.",
                "Give the nn.Module that it was made from, or a program of torch.export.",
            )
        if isinstance(module, LazyModuleMixin) and module.has_uninitialized_params():
            raise TraceError(
                f"{name}: {place(modules, path)} is lazy, and its weights have no shape yet.",
                "Run the model once on an example input, so that it makes its weights, then give it.",
            )


def own_containers(module: nn.Module, kept: set[int]) -> list[tuple[Mutable, Mutable]]:
    """Return the lists, dicts and sets among `module`'s attributes, its parameters and buffers aside, with copies.

    Adds to `kept` the addresses of storages of tensors that it holds as plain attributes or in those containers.
    """
    containers: list[tuple[Mutable, Mutable]] = []
    for key, value in module.__dict__.items():
        if key in MADE_BY_MODULE:
            if key in _CHANGED_BY_FORWARD:
                containers.append((value, value.copy()))
            continue
        kind = value.__class__
        if kind is dict or kind is list or kind is set:
            containers.append((value, value.copy()))
            kept.update(_address(part) for part in (value.values() if kind is dict else value) if _is_held(part))
        elif kind not in SCALARS and _is_held(value):
            kept.add(_address(value))
    return containers


def refill(containers: list[tuple[Mutable, Mutable]]) -> None:
    """Put back what `own_containers` found."""
    for container, before in containers:
        container.clear()
        if isinstance(container, list):
            container.extend(before)
        else:
            container.update(before)  # type: ignore[arg-type]


def _is_held(value: object) -> TypeGuard[torch.Tensor]:
    return isinstance(value, torch.Tensor) and is_dense(value)


def _address(tensor: torch.Tensor) -> int:
    address: int = tensor.untyped_storage()._cdata
    return address


@contextmanager
def uncollected() -> Iterator[None]:
    """Within: no garbage collection, which would free cycles in mid-forward, at a moment of its own choosing."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@contextmanager
def run_eagerly(modules: Mapping[str, nn.Module]) -> Iterator[None]:
    """Within: what `torch.compile` made of one of the modules runs as the module it came from."""
    if not any(type(module).__name__ == "OptimizedModule" for module in modules.values()):
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


@contextmanager
def refuse_autocast() -> Iterator[None]:
    """Within: entering `torch.autocast` for the CPU raises TraceError. Tensors on meta go past its casts."""
    if torch.is_autocast_enabled("cpu"):
        raise _autocast_error()
    enter = torch.autocast.__enter__

    def checked_enter(region: torch.autocast) -> object:
        if region.device == "cpu" and region._enabled:
            raise _autocast_error()
        return enter(region)  # type: ignore[no-untyped-call]

    torch.autocast.__enter__ = checked_enter  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.autocast.__enter__ = enter  # type: ignore[method-assign]


def _autocast_error() -> TraceError:
    return TraceError(
        "The forward runs under torch.autocast for the CPU, whose casts a trace without weights does not see.",
        "Trace the model without autocast, and choose the type with --dtype.",
    )


@contextmanager
def refuse_reads(has_values: Callable[[torch.Tensor], bool]) -> Iterator[None]:
    """Within: `Tensor.tolist`, `Tensor.numpy` and the like raise DataRead for tensors without values."""
    own = {name: vars(torch.Tensor).get(name) for name in _READS}
    for name in _READS:
        setattr(torch.Tensor, name, _checked(name, getattr(torch.Tensor, name), has_values))
    try:
        yield
    finally:
        for name, method in own.items():
            if method is None:
                delattr(torch.Tensor, name)
            else:
                setattr(torch.Tensor, name, method)


def _checked(
    name: str, method: Callable[..., object], has_values: Callable[[torch.Tensor], bool]
) -> Callable[..., object]:
    def read(tensor: torch.Tensor, *args: object, **kwargs: object) -> object:
        if not has_values(tensor) and args != ("",):  # f"{tensor}" without a format shows no values
            raise DataRead(f"Tensor.{name}")
        return method(tensor, *args, **kwargs)

    return read


def place(modules: Mapping[str, nn.Module], path: str) -> str:
    """Return how messages name the module at `path`."""
    kind = type(modules[path]).__name__ if path in modules else ""
    return f"module '{path}' ({kind})" if path else f"its forward ({kind})"
