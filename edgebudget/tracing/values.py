"""Tensors without data: twins on the meta device, and operators over a mix of twins and small real tensors.

A trace keeps two kinds of tensors apart. *Meta* tensors stand for weights, inputs and all that is computed from them.
*Real* tensors are small ones that a model makes from Python data (`torch.arange(7)`, a list of drop rates), kept on the
CPU with their values, because models read those. Where both meet, the real one becomes meta.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from edgebudget.errors import TraceError
from edgebudget.graph import ITEMSIZE

META = torch.device("meta")
REAL_NUMEL_LIMIT = 2**16
"""Tensors above this many elements are never made for real: models read the values of small tensors only."""
_ZEROS_NUMEL_LIMIT = 2**24

Operator = Callable[..., object]

_DATA_TAGS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
_READS_DATA = {"aten.item.default", "aten.is_nonzero.default", "aten.equal.default", "aten.allclose.default"}
_NAMES: dict[object, str] = {}


class DataRead(BaseException):
    """The operator `target` asks for values that a trace does not have.

    A BaseException, so that no `except Exception` in a model swallows it.
    """

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.target = target


def name_of(value: object) -> str:
    """Return `float32` for `torch.float32`, `aten.conv2d.default` for an operator: `str`, remembered."""
    name = _NAMES.get(value)
    if name is None:
        name = _NAMES[value] = str(value).removeprefix("torch.")
    return name


def reads_data(func: Operator, args: Sequence[object]) -> bool:
    """Whether what `func` returns, or its shape, depends on values. Indexing does so by a boolean mask only."""
    name = name_of(func)
    if name == "aten.index.Tensor":
        indices = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ()
        return any(isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8) for index in indices)
    if name.startswith(("aten.to_sparse", "aten._to_sparse")):
        return isinstance(args[0], torch.Tensor) and is_dense(args[0])
    return name in _READS_DATA or not _DATA_TAGS.isdisjoint(func.tags)  # type: ignore[attr-defined]


def map_tensors(change: Callable[[torch.Tensor], torch.Tensor], value: object) -> object:
    """Return `value` with `change` applied to every tensor in it: in containers, and in fields of dataclasses."""

    if isinstance(value, torch.Tensor):
        return change(value)

    def of_leaf(leaf: object) -> object:
        if isinstance(leaf, torch.Tensor):
            return change(leaf)
        if not dataclasses.is_dataclass(leaf) or isinstance(leaf, type):
            return leaf
        changed = copy.copy(leaf)
        for field in dataclasses.fields(leaf):
            object.__setattr__(changed, field.name, map_tensors(change, getattr(leaf, field.name)))
        return changed

    return tree_map(of_leaf, value)


def tensors_in(value: object) -> Iterator[torch.Tensor]:
    """Yield every tensor in `value`, whatever containers, mappings and dataclasses hold it."""
    for leaf in (value,) if isinstance(value, torch.Tensor) else tree_leaves(value):
        if isinstance(leaf, torch.Tensor):
            yield leaf
        elif dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
            for field in dataclasses.fields(leaf):
                yield from tensors_in(getattr(leaf, field.name))
        elif isinstance(leaf, Mapping):
            for part in leaf.values():
                yield from tensors_in(part)


def is_dense(tensor: torch.Tensor) -> bool:
    return tensor.layout is torch.strided


def components(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the dense tensors that hold `tensor`: itself, or the indices and values of a sparse layout."""
    if is_dense(tensor):
        return (tensor,)
    if tensor.layout is torch.sparse_coo:
        return (tensor._indices(), tensor._values())
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return (tensor.crow_indices(), tensor.col_indices(), tensor.values())
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return (tensor.ccol_indices(), tensor.row_indices(), tensor.values())
    raise TraceError(
        f"A tensor has the layout {name_of(tensor.layout)}, which a trace cannot look into.",
        "Give the model dense or sparse (COO, CSR, CSC, BSR, BSC) tensors.",
    )


def refuse_opaque(tensor: torch.Tensor) -> None:
    """Raise TraceError for a tensor whose bytes do not follow from its shape and dtype."""
    what = "nested" if tensor.is_nested else "quantized" if tensor.is_quantized else name_of(tensor.dtype)
    if what not in ITEMSIZE:
        raise TraceError(
            f"A tensor is {what}, which a trace cannot look into.",
            "Give the model plain dense or sparse tensors; --dtype int8 quantizes a float model.",
        )


def meta_twin(tensor: torch.Tensor) -> torch.Tensor:
    """Return a dense tensor of the same shape, strides and dtype on meta, with a storage of its own."""
    return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=META)


class Twins:
    """Meta twins that share storage exactly where their originals do: tied weights and views stay tied."""

    def __init__(self) -> None:
        self._bases: dict[int, torch.Tensor] = {}
        self._originals: list[torch.Tensor] = []  # keeps storages, whose addresses are the keys, alive

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the twin of `tensor`: same shape, strides, offset and dtype over the shared storage.

        A sparse tensor is its own twin: meta has no sparse kernels to speak of.
        """
        if tensor.layout is not torch.strided:
            return tensor.detach()
        storage = tensor.untyped_storage()
        base = self._bases.get(storage._cdata)
        if base is None:
            refuse_opaque(tensor)
            self._originals.append(tensor)
            twin = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=META)
            if twin.untyped_storage().nbytes() == storage.nbytes():
                self._bases[storage._cdata] = twin
                return twin
            base = self._bases[storage._cdata] = torch.empty((storage.nbytes(),), dtype=torch.uint8, device=META)
        view = torch.empty((0,), dtype=tensor.dtype, device=META)
        return view.set_(base.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())


def run_on_meta(func: Operator, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
    """Return `func` of the arguments with every dense tensor and device moved to meta.

    An operator without a shape rule (sparse products, custom operators) runs for real on zeros, if its inputs are
    small. Raises DataRead where it then depends on values, else what the operator raises.
    """
    leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    if all(is_dense(leaf) for leaf in leaves):
        try:
            return func(*tree_map(_to_meta, tuple(args)), **tree_map(_to_meta, dict(kwargs)))
        except NotImplementedError:
            if any(leaf.numel() > _ZEROS_NUMEL_LIMIT for leaf in leaves):
                raise
    elif any(leaf.numel() > _ZEROS_NUMEL_LIMIT for leaf in leaves if leaf.is_meta):
        raise NotImplementedError(f"it takes a sparse tensor and one of more than {_ZEROS_NUMEL_LIMIT:,} elements")
    # Outside inference mode the dispatcher takes composite operators apart, so that what is inside is seen.
    with torch.inference_mode(False), torch.no_grad(), _NoValues(func):
        out = func(*tree_map(_to_zeros, tuple(args)), **tree_map(_to_zeros, dict(kwargs)))
    return tree_map(_to_meta, out)


class _NoValues(TorchDispatchMode):
    """Refuses the operators inside `func` that depend on values: the zeros it runs on are not the model's."""

    def __init__(self, func: Operator) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._target = name_of(func)

    def __torch_dispatch__(
        self,
        func: Operator,
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        if reads_data(func, args):
            raise DataRead(self._target)
        return func(*args, **(kwargs or {}))


def _to_meta(value: object) -> object:
    if isinstance(value, torch.Tensor):
        return meta_twin(value) if is_dense(value) and value.device.type != "meta" else value
    return META if isinstance(value, torch.device) else value


def _to_zeros(value: object) -> object:
    if isinstance(value, torch.Tensor):
        return torch.zeros(value.shape, dtype=value.dtype) if value.device.type == "meta" else value
    return torch.device("cpu") if isinstance(value, torch.device) else value


def makes_too_much(func: Operator, args: Sequence[object], kwargs: Mapping[str, object]) -> bool:
    """Whether a factory operator (`aten.zeros`, `aten.arange`) is asked for more elements than are made for real."""
    size = args[0] if args else None
    if isinstance(size, list | tuple):
        return prod(size) > REAL_NUMEL_LIMIT
    if not any(argument.name == "device" for argument in func._schema.arguments):  # type: ignore[attr-defined]
        return False
    try:
        out = func(*args, **{**kwargs, "device": META})
    except NotImplementedError:
        return False
    return any(made.numel() > REAL_NUMEL_LIMIT for made in tensors_in(out))


def grows_too_much(func: Operator, args: Sequence[object], kwargs: Mapping[str, object]) -> bool:
    """Whether an operator over small real tensors makes a large new one: an outer product, a mask of `i < j`."""
    leaves = tree_leaves((args, kwargs))
    bound = prod(leaf.numel() if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves if _multiplies(leaf))
    if bound <= REAL_NUMEL_LIMIT or not all(is_dense(leaf) for leaf in leaves if isinstance(leaf, torch.Tensor)):
        return False
    try:
        out = func(*tree_map(_to_meta, tuple(args)), **tree_map(_to_meta, dict(kwargs)))
    except NotImplementedError:
        return False
    held = max(leaf.untyped_storage().nbytes() for leaf in leaves if isinstance(leaf, torch.Tensor))
    return any(
        made.numel() > REAL_NUMEL_LIMIT and made.is_contiguous() and made.nbytes > held for made in tensors_in(out)
    )


def _multiplies(leaf: object) -> bool:
    return leaf.numel() > 1 if isinstance(leaf, torch.Tensor) else type(leaf) is int and leaf > 1
