"""Routines: all that a module writes down in one call, in terms of its inputs and weights, so as to write it again."""

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

import torch

from edgebudget.graph import ITEMSIZE, Arg, Op, Ref, Role, TensorSpec, refs_in
from edgebudget.tracing.recorder import Block, Promise, Recorder
from edgebudget.tracing.rules import ALONE, REFS, Form, form_of, reach
from edgebudget.tracing.standing import Own

Picker: TypeAlias = Callable[[list[Arg]], tuple[Arg, ...]]

_ACTIVATION = Role.ACTIVATION
_new = tuple.__new__


class Result(NamedTuple):
    """A tensor that an operator made.

    `block` is the storage, counted from the routine's first; or, below zero, `~block` is the place of the tensor that
    it is a view of, and `offset` counts from where that begins.
    """

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str
    block: int
    offset: int


class Step(NamedTuple):
    """One operator. What it takes is picked from the values at hand: the routine's constants, inputs and weights, then
    what came of each step, its `lists` of arguments first."""

    target: str
    member: int  # the module that ran it, counted from the routine's own
    lists: tuple[Picker, ...]
    args: Picker
    kwargs: tuple[tuple[str, Arg], ...]
    inputs: Callable[[list[Arg]], tuple[int, ...]]
    blocks: tuple[tuple[int, str], ...]  # the bytes and dtypes of storages that it made
    results: tuple[Result, ...]


class Routine(NamedTuple):
    """All steps of one call. `deaths` are the storages that were let go, each after which step.

    What it returned is the input at `returned`, where `form` is None; else the value in that place, of `form`, in the
    storage `block`, which nobody else holds.
    """

    constants: tuple[Arg, ...]
    steps: tuple[Step, ...]
    deaths: tuple[tuple[int, int], ...]
    values: int
    returned: int
    form: Form | None = None
    block: int = 0


class Mark(NamedTuple):
    """How much a recorder had written down, before a call."""

    ops: int
    values: int
    blocks: int
    reals: int

    @classmethod
    def of(cls, recorder: Recorder) -> "Mark":
        return cls(len(recorder.ops), len(recorder.tensors), len(recorder.blocks), recorder.reals)


class Recording(NamedTuple):
    """What one call wrote down, as it stood there: since `mark`, by the modules `paths`.

    `given` are its inputs, `weights` those of the modules, `values` what it made; `out` is the id of what it returned.
    """

    mark: Mark
    paths: tuple[str, ...]
    given: tuple[TensorSpec, ...]
    weights: tuple[TensorSpec, ...]
    ops: tuple[Op, ...]
    values: tuple[TensorSpec, ...]
    blocks: tuple[Block, ...]
    deaths: dict[int, int]
    out: int
    out_form: Form


def record(own: Own, given: Sequence[Ref], mark: Mark, out: object) -> Recording | None:
    """Return what was written down since `mark` by a call on `given` that returned `out`.

    None where it would not be the same again: real tensors came in, or it returned something other than one tensor.
    """
    recorder = own.recorder
    tag = recorder.replayable_tag(out)
    if tag is None or not isinstance(out, torch.Tensor) or recorder.reals != mark.reals:
        return None
    tensors = recorder.tensors
    return Recording(
        mark,
        recorder.paths[own.index : own.end],
        tuple([tensors[i] for i in given]),
        tuple(tensors[own.first : own.last]),
        tuple(recorder.ops[mark.ops :]),
        tuple(tensors[mark.values :]),
        tuple(recorder.blocks[mark.blocks :]),
        recorder.deaths_since(mark.blocks),
        int(tag[3]),
        form_of(out.shape, out.stride(), out.dtype, False),
    )


def play(routine: Routine, own: Own, given: Sequence[Ref]) -> int | Promise:
    """Write down `routine` for another module of the same makeup, on inputs of the same forms.

    Returns which of `given` it returns, or a promise.
    """
    recorder = own.recorder
    ops, tensors, blocks, paths = recorder.ops, recorder.tensors, recorder.blocks, recorder.paths
    start, value, first_block, member = len(ops), len(tensors), len(blocks), own.index
    if value + routine.values > len(REFS):
        reach(value + routine.values)
    at_hand: list[Arg] = [*routine.constants, *given, *REFS[own.first : own.last]]
    add = at_hand.append
    for index, (target, runner, lists, args, kwargs, inputs, made, results) in enumerate(routine.steps, start):
        for pick in lists:
            add(pick(at_hand))
        path = paths[member + runner]
        for nbytes, dtype in made:
            blocks.append((nbytes, dtype, _ACTIVATION, path, index, True, False))
        taken, read = args(at_hand), inputs(at_hand)
        outputs: tuple[int, ...] = ()
        for shape, stride, dtype, block, offset in results:
            if block < 0:
                _, _, _, _, storage, begin = tensors[at_hand[~block]]  # type: ignore[index]
                spec = (value, shape, stride, dtype, storage, begin + offset)
            else:
                spec = (value, shape, stride, dtype, first_block + block, offset)
            tensors.append(_new(TensorSpec, spec))
            add(REFS[value])
            outputs = (*outputs, value) if outputs else ALONE[value]
            value += 1
        ops.append(_new(Op, (index, target, path, taken, kwargs, read, outputs)))
    recorder.expire_all(routine.deaths, first_block, start)
    if routine.form is None:
        return routine.returned
    return routine.form, at_hand[routine.returned], first_block + routine.block  # type: ignore[return-value]


class _UnlearnableError(Exception):
    """What was recorded does not follow from the forms of inputs and weights alone."""


def learn(recording: Recording) -> Routine | None:
    """Return what was recorded as a routine.

    None where it cannot be written down again: something was left behind or written to an input, or what was returned
    is neither an input nor a tensor with memory of its own.
    """
    try:
        return _Learning(recording).routine()
    except _UnlearnableError:
        return None


class _Learning:
    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._members = {path: i for i, path in enumerate(recording.paths)}
        at_start = (*recording.given, *recording.weights)
        self._constants = [arg for op in recording.ops for arg in _constants_in(op.args)]
        self._used = 0  # of the constants
        self._specs = {spec.id: spec for spec in at_start}
        self._places = {spec.id: place for place, spec in enumerate(at_start, len(self._constants))}
        self._filled = len(self._constants) + len(at_start)
        _require(len(self._places) == len(at_start))
        self._specs |= {spec.id: spec for spec in recording.values}
        self._born: dict[int, list[Block]] = {}
        for block in recording.blocks:
            self._born.setdefault(block[4], []).append(block)

    def routine(self) -> Routine:
        _, _, given, _, ops, values, blocks, deaths, out, form = recording = self._recording
        mark = recording.mark
        _require([i for op in ops for i in op.outputs] == [value.id for value in values])
        steps = tuple([self._step(op) for op in ops])
        _require(not self._born)
        left = set(range(mark.blocks, mark.blocks + len(blocks))) - deaths.keys()
        gone = tuple([(block - mark.blocks, after - mark.ops) for block, after in deaths.items()])
        routine = Routine(tuple(self._constants), steps, gone, len(values), 0)
        if out < mark.values:
            inputs = [spec.id for spec in given]
            _require(not left and out in inputs)
            return routine._replace(returned=inputs.index(out))
        storage, offset = self._specs[out].storage, self._specs[out].offset
        _require(left == {storage} and not offset and _nbytes(form) == blocks[storage - mark.blocks][0])
        return routine._replace(returned=self._places[out], form=form, block=storage - mark.blocks)

    def _step(self, op: Op) -> Step:
        _require(op.module in self._members and self._places.keys() >= set(op.inputs))
        _require(not refs_in(tuple([arg for _, arg in op.kwargs])))
        lists: list[Picker] = []
        places = [self._place(arg, lists) for arg in op.args]
        inputs = picker([self._places[i] for i in op.inputs])
        results = tuple([self._result(op, i) for i in op.outputs])
        made = self._born.pop(op.index, ())
        _require(all(role is _ACTIVATION and module == op.module for _, _, role, module, *_ in made))
        blocks = tuple([(nbytes, dtype) for nbytes, dtype, *_ in made])
        return Step(
            op.target, self._members[op.module], tuple(lists), picker(places), op.kwargs, inputs, blocks, results
        )

    def _place(self, arg: Arg, lists: list[Picker]) -> int:
        """Return where `arg` is at hand; a list with tensors in it is put together first."""
        if isinstance(arg, Ref):
            _require(arg in self._places)
            return self._places[arg]
        if _is_constant(arg):
            self._used += 1
            return self._used - 1
        pick = picker([self._place(item, lists) for item in arg])  # type: ignore[union-attr]
        lists.append(pick)
        self._filled += 1
        return self._filled - 1

    def _result(self, op: Op, value: int) -> Result:
        specs = self._specs
        _, shape, stride, dtype, storage, offset = specs[value]
        block = storage - self._recording.mark.blocks
        if block < 0:
            # In-place operators end in "_". One on what came from outside would change it for whoever holds it.
            base = next((i for i in op.inputs if specs[i].storage == storage), None)
            _require(base is not None and not op.target.split(".")[1].endswith("_"))
            block, offset = ~self._places[base], offset - specs[base].offset  # type: ignore[index]
        self._places[value] = self._filled
        self._filled += 1
        return Result(shape, stride, dtype, block, offset)


def _require(holds: bool) -> None:
    if not holds:
        raise _UnlearnableError


def _constants_in(args: tuple[Arg, ...]) -> Iterator[Arg]:
    """Yield what `_Learning._place` takes for constants, in its order."""
    for arg in args:
        if _is_constant(arg):
            yield arg
        elif isinstance(arg, tuple):
            yield from _constants_in(arg)


def _is_constant(arg: Arg) -> bool:
    return not isinstance(arg, Ref) and not (isinstance(arg, tuple) and refs_in(arg))


def _nbytes(form: Form) -> int:
    if 0 in form.shape:
        return 0
    reach_of = [(size - 1) * step for size, step in zip(form.shape, form.stride, strict=True)]
    return (sum(reach_of) + 1) * ITEMSIZE[form.dtype_name]


def picker(places: Sequence[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Return what picks these places of a sequence as a tuple."""
    if len(places) > 1:
        return itemgetter(*places)
    if not places:
        return lambda at_hand: ()
    only = places[0]
    return lambda at_hand: (at_hand[only],)
