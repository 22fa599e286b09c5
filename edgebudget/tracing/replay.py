"""Operators of a graph run under the modes of export, and what they do written down as templates."""

from collections.abc import Callable, Sequence

import torch
from torch.utils._pytree import tree_leaves

from edgebudget.errors import TraceError
from edgebudget.graph import Arg, Op, Ref, refs_in
from edgebudget.tracing.export_modes import Engine, Meta, Operator, Tensor
from edgebudget.tracing.templates import Call, Template
from edgebudget.tracing.values import name_of

_OPERATORS: dict[str, Operator] = {}


def operator(target: str) -> Operator:
    """Return the operator called `aten.conv2d.default`. Raises TraceError where there is none of that name."""
    found = _OPERATORS.get(target)
    if found is None:
        namespace, name, overload = target.split(".")
        try:
            found = getattr(getattr(getattr(torch.ops, namespace), name), overload)
        except AttributeError:
            raise TraceError(
                f"The operator {target} is not registered in this process.", "Import the package that defines it."
            ) from None
        _OPERATORS[target] = found
    return found


class Running:
    """Tensors that stay from one operator to the next, so that functionalisation keeps track of who views what.

    They have positions in the order in which they came to stay. Values, of which templates speak, are numbered
    throughout: those of the first operator from 0.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._staying: list[Tensor] = []
        self._numbers: dict[int, int] = {}  # of inner tensors, by id
        self._keep: list[object] = []  # so that ids stay their own
        self._count = 0
        self._constants: list[tuple[int, Meta]] = []

    def run(
        self,
        op: Op,
        graph_name: str,
        args: tuple[Arg, ...],
        kwargs: tuple[tuple[str, Arg], ...],
        metas: Sequence[Meta],
        entering: Sequence[int] = (),
        staying: Sequence[int] = (),
    ) -> Template:
        """Run `op` and return what was recorded.

        `Ref` n among the arguments is a new tensor like `metas[n]`, `Ref` ~n the tensor that stays in position n.
        The new tensors in `entering` stay, then those of the results in `staying`; these have no value yet, and -1
        stands for them among the template's outputs.
        """
        engine, recorder = self._engine, self._engine.recorder
        inner = [engine.make(meta) for meta in metas]
        outer = [engine.wrap(tensor) for tensor in inner]
        for tensor in inner:
            self._add(tensor)
        self._constants = []

        def given(arg: Arg) -> object:
            if isinstance(arg, Ref):
                return outer[arg] if arg >= 0 else self._staying[~arg]
            if isinstance(arg, tuple):
                return [given(item) for item in arg]
            return _constant(arg) if isinstance(arg, str) else arg

        mark = len(recorder.calls)
        results = _run(op, graph_name, [given(arg) for arg in args], {name: given(arg) for name, arg in kwargs})
        new = [tensor if i in entering else engine.unwrap(outer[i]) for i, tensor in enumerate(inner)]
        outputs = [None if i in staying else engine.unwrap(result) for i, result in enumerate(results)]
        calls = self._recorded(mark)
        rebound = tuple([(i, self._number(t)) for i, t in enumerate(new) if t is not inner[i]])
        made = tuple([-1 if output is None else self._number(output) for output in outputs])
        self._staying += [outer[i] for i in entering] + [results[i] for i in staying]
        return Template(len(metas), calls, made, rebound, tuple(self._constants))

    def read(self, position: int) -> Template:
        """Return what was recorded when the tensor in a position was read: views of what was written are made anew."""
        self._constants = []
        mark = len(self._engine.recorder.calls)
        inner = self._engine.unwrap(self._staying[position])
        calls = self._recorded(mark)
        return Template(0, calls, (self._number(inner),), (), tuple(self._constants))

    def _add(self, tensor: Tensor) -> int:
        number = self._numbers[id(tensor)] = self._count
        self._keep.append(tensor)
        self._count += 1
        return number

    def _number(self, tensor: Tensor) -> int:
        tensor = self._engine.recorder.canonical(tensor)
        number = self._numbers.get(id(tensor))
        if number is None:
            number = self._add(tensor)
            self._constants.append((number, _meta(tensor)))
        return number

    def _recorded(self, mark: int) -> tuple[Call, ...]:
        """Return what the recorder has written down since `mark`, and have it forget that."""
        recorded = self._engine.recorder.calls[mark:]
        del self._engine.recorder.calls[mark:]
        calls = []
        for func, args, kwargs, made in recorded:
            as_args = tuple([_describe(arg, self._number) for arg in args])
            as_kwargs = tuple([(name, _describe(arg, self._number)) for name, arg in kwargs.items()])
            inputs = tuple(refs_in((*as_args, *[arg for _, arg in as_kwargs])))
            outputs = tuple([self._add(tensor) for tensor in made])
            calls.append(
                Call(name_of(func), as_args, as_kwargs, inputs, outputs, tuple([_meta(tensor) for tensor in made]))
            )
        return tuple(calls)


def _run(op: Op, graph_name: str, args: list[object], kwargs: dict[str, object]) -> list[Tensor]:
    try:
        result = operator(op.target)(*args, **kwargs)
    except Exception as failure:
        text = " ".join(str(failure).split())[:300]
        raise TraceError(
            f"{graph_name}: {op.target} in '{op.module}' cannot be decomposed: {type(failure).__name__}: {text}",
            "Estimate the model with a runtime that needs no decomposed graph, such as pytorch.",
        ) from failure
    results = [result] if isinstance(result, Tensor) else [x for x in tree_leaves(result) if isinstance(x, Tensor)]
    if len(results) != len(op.outputs):
        raise TraceError(
            f"{graph_name}: {op.target} in '{op.module}' gave {len(results)} tensors when decomposed, "
            f"and {len(op.outputs)} when traced."
        )
    return results


def _meta(tensor: Tensor) -> Meta:
    return Meta(tuple([int(n) for n in tensor.shape]), tuple([int(n) for n in tensor.stride()]), name_of(tensor.dtype))


def _constant(text: str) -> object:
    """Return torch's own object behind a name in the graph: `float32`, `strided`, `contiguous_format`, `cpu`."""
    if text in ("cpu", "meta") or text.startswith(("cuda", "mps", "cpu:")):
        return torch.device("cpu")
    value = getattr(torch, text, None)
    return value if isinstance(value, torch.dtype | torch.layout | torch.memory_format) else text


def _describe(arg: object, number: Callable[[Tensor], int]) -> Arg:
    if isinstance(arg, Tensor):
        return Ref(number(arg))
    if isinstance(arg, list | tuple):
        return tuple([_describe(item, number) for item in arg])
    if arg is None or isinstance(arg, bool | int | float | complex | str):
        return arg
    return name_of(arg)
