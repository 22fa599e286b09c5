"""What a program's values take: in the `.pte` file, and on the heap of the process that loads it.

Counted from executorch 1.5.1: the emitter makes one value of every argument of every out-variant
(exir/emit/_emitter.py), the runtime a handful of blocks of every value (runtime/executor/method.cpp,
tensor_parser_portable.cpp), each by `malloc` (extension/memory_allocator/malloc_memory_allocator.h).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, TypeAlias

from edgebudget.graph import Arg, Ref
from edgebudget.planning import align
from edgebudget.runtimes._executorch_edge import Program, Step, returns_list
from edgebudget.runtimes._glibc import usable_bytes

SEGMENT_ALIGNMENT = 128  # ExecutorchBackendConfig.segment_alignment
CONSTANT_ALIGNMENT = 16  # schema.fbs, @executorch-tensor-alignment


class Argument(NamedTuple):
    """One argument of a kernel call: the kind of its value, and how many items a list has."""

    kind: str
    items: int = 0


@dataclass(frozen=True)
class Census:
    """The values of a program by kind, the tensors by rank, and the kernel calls by their arguments."""

    values: Counter[str]
    ranks: Counter[int]  # of tensors
    planned: int  # tensors with memory in the arena
    lists: Counter[int]  # lengths of lists of integers
    tensor_lists: Counter[int]
    calls: Counter[tuple[int, tuple[int, ...]]]  # (arguments, ranks of those that are tensors)
    operators: frozenset[str]
    inputs: int
    constants: int

    @property
    def total(self) -> int:
        return sum(self.values.values())


class _Signature(NamedTuple):
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    defaults: tuple[Arg, ...]


@cache
def _signature(target: str) -> _Signature:
    """Return what an operator's out-variant takes before its outputs: factories take no layout, device or type."""
    import torch  # only here: a program is made where a model was traced

    namespace, name, overload = target.split(".")
    schema = getattr(getattr(getattr(torch.ops, namespace), name), overload)._schema
    names = [a.name for a in schema.arguments]
    dropped = {"layout", "device", "pin_memory"} | ({"dtype"} if "layout" in names else set())
    if name in ("_to_copy", "clone"):
        dropped.add("memory_format")
    kept = [a for a in schema.arguments if a.name not in dropped]
    kinds = tuple(
        "Tensor[]" if str(a.type) in ("List[Tensor]", "List[Optional[Tensor]]") else str(a.type) for a in kept
    )
    defaults = tuple(a.default_value if a.has_default_value() else None for a in kept)
    return _Signature(tuple(a.name for a in kept), kinds, defaults)


def census(program: Program) -> Census:
    """Return the values of `program`."""
    values: Counter[str] = Counter()
    ranks: Counter[int] = Counter()
    lists: Counter[int] = Counter()
    tensor_lists: Counter[int] = Counter()
    calls: Counter[tuple[int, tuple[int, ...]]] = Counter()
    tensors = {*program.inputs, *program.mutable}
    rank = [len(spec.shape) for spec in program.specs]
    alike: dict[_Form, list[Step]] = {}
    for step in program.steps:
        tensors.update(step.reads, step.writes)
        if step.target != "view":
            alike.setdefault(_form(step, rank), []).append(step)
    for steps in alike.values():
        step, count = steps[0], len(steps)
        written = tuple([rank[spec] for spec in step.writes])
        read = tuple([rank[arg] for arg in (*step.args, *[arg for _, arg in step.kwargs]) if isinstance(arg, Ref)])
        arguments = list(_arguments(step, written[0] if written else 0))
        for argument in arguments:
            if argument.kind == "IntList":
                lists[argument.items] += count
                values["Int"] += argument.items * count
            elif argument.kind == "TensorList":
                tensor_lists[argument.items] += count
            if argument.kind != "Tensor":
                values[argument.kind] += count
        # out-arguments, then what is returned: the same tensors, as one list where there are several
        if returns_list(step):
            outs, seen, made = 2, read, 2
        elif len(step.writes) > 1:
            outs, seen, made = len(written) + 1, read + written, 1
        else:
            outs, seen, made = 2 * len(written), read + 2 * written, 0
        values["TensorList"] += made * count
        tensor_lists[len(written)] += made * count
        calls[(len(arguments) + outs, seen)] += count
    ranks.update([rank[spec] for spec in tensors])
    ranks[0] += len(program.unused)
    values["Tensor"] = sum(ranks.values())
    constants = sum(program.specs[spec].constant for spec in tensors) + len(program.unused)
    return Census(
        values,
        ranks,
        values["Tensor"] - constants,
        lists,
        tensor_lists,
        calls,
        frozenset([target for target, *_ in alike]),
        len(program.inputs),
        constants,
    )


_Form: TypeAlias = tuple[str, tuple[int, ...], tuple[object, ...], tuple[str, ...]]


def _form(step: Step, rank: Sequence[int]) -> _Form:
    """Return what of a step the values of its call depend on: its operator, the `rank` of what it writes, what each
    argument is, and the names of those with one. A tensor is `(rank,)`, a list its length, others are their type."""
    target, _, args, kwargs, _, writes = step
    names: tuple[str, ...] = ()
    if kwargs:
        names, named = zip(*kwargs, strict=True)
        args += named
    kinds = [
        (rank[arg],) if arg.__class__ is Ref else len(arg) if arg.__class__ is tuple else arg.__class__ for arg in args
    ]
    return target, tuple([rank[spec] for spec in writes]), tuple(kinds), names


def _arguments(step: Step, rank: int) -> Iterator[Argument]:
    if step.target in ("aten._to_copy.default", "aten.clone.default"):
        # dim_order_ops: (self, non_blocking, dim_order)
        yield Argument("Tensor")
        yield Argument("Bool")
        yield Argument("IntList", rank)
        return
    given = dict(step.kwargs)
    signature = _signature(step.target)
    for position, (name, kind, default) in enumerate(
        zip(signature.names, signature.kinds, signature.defaults, strict=True)
    ):
        value: Arg = step.args[position] if position < len(step.args) else given.get(name, default)
        yield _argument(value, kind)


def _argument(value: Arg, kind: str) -> Argument:
    if isinstance(value, Ref):
        return Argument("Tensor")
    if value is None:
        return Argument("Null")
    if isinstance(value, tuple | list):
        if "Tensor" in kind:
            return Argument("TensorList", len(value))
        if "float" in kind:
            return Argument("DoubleList", len(value))
        return Argument("BoolList" if "bool" in kind else "IntList", len(value))
    if isinstance(value, bool):
        return Argument("Bool")
    if isinstance(value, float):
        return Argument("Double")
    if isinstance(value, str) and kind in ("str", "Optional[str]"):
        return Argument("String", len(value))
    return Argument("Double" if kind == "float" else "Int")


def program_bytes(values: Census) -> int:
    """Return what the flatbuffer in front of the constants takes, padded to where they start; within 3 %.

    By schema/program.fbs: 16 bytes a value (its table of 12 and a reference), the value's own table with its fields,
    a length of 4 and the items of each vector, 8 bytes of offset a constant, two short strings an operator. Tables
    share their layout; padding between them is not followed.
    """
    ranks = sum((align(4 * rank, 4) + align(rank, 4)) * count for rank, count in values.ranks.items())
    lists = sum((28 + 8 * length) * count for length, count in values.lists.items())
    tensor_lists = sum((28 + 4 * length) * count for length, count in values.tensor_lists.items())
    calls = sum((32 + 4 * arguments) * count for (arguments, _), count in values.calls.items())
    scalars = (
        28 * (values.values["Int"] + values.values["Double"]) + 24 * values.values["Bool"] + 20 * values.values["Null"]
    )
    others = 36 * (values.values["String"] + values.values["DoubleList"] + values.values["BoolList"])
    tensors = 44 * values.values["Tensor"] + 12 * values.planned + ranks
    rest = 8 * values.constants + 64 * len(values.operators) + 600
    return align(tensors + lists + tensor_lists + calls + scalars + others + rest, SEGMENT_ALIGNMENT)


def method_heap_bytes(values: Census, pointer_bytes: int = 8) -> int:
    """Return the heap that loading a method takes besides its arena: every block of `Method::init`, by usable size.

    A value takes 16 bytes; a `TensorImpl` four pointers, three sizes and its types; a boxed list, the description of
    a call's tensor, and the arguments of a call three, three and two words; a stride 4 bytes. The module's allocator
    has no temporary arena, so the descriptions, made to choose a kernel, stay (`Method::resolve_operator`).
    """
    word = pointer_bytes
    blocks: Counter[int] = Counter()
    blocks[16 * values.total] += 1
    blocks[values.inputs] += 1  # which inputs are set
    blocks[0] += 1  # delegates: none
    for rank, count in values.ranks.items():
        blocks[4 * rank] += count
        blocks[7 * word + 8] += count
    for length, count in (values.lists + values.tensor_lists).items():
        blocks[word * length] += count
        blocks[3 * word] += count
    for length, count in values.lists.items():
        blocks[8 * length] += count  # integers have 8 bytes everywhere
    for length, count in values.tensor_lists.items():
        blocks[word * length] += count
    for kind in ("String", "DoubleList", "BoolList"):
        blocks[2 * word] += values.values[kind]
    calls = sum(values.calls.values())
    blocks[4 * word] += 1
    blocks[word * calls] += 1
    blocks[2 * word * calls] += 1
    blocks += _call_blocks(values, word)
    blocks[word * _room(sum(blocks.values()))] += 1
    return _usable_bytes(blocks, word)


def loading_bytes(values: Census, pointer_bytes: int = 8) -> int:
    """Return what the heap takes for a moment of loading beyond what it takes afterwards.

    The allocator's list of blocks is copied when it doubles for the last time: the old one is still there, but not yet
    the blocks that are made afterwards, which describe calls.
    """
    word = pointer_bytes
    described = _call_blocks(values, word)
    lists = sum(values.lists.values()) + sum(values.tensor_lists.values())
    others = sum(values.values[kind] for kind in ("String", "DoubleList", "BoolList"))
    made = 6 + 2 * sum(values.ranks.values()) + 3 * lists + others + sum(described.values())
    held = _room(made) // 2
    mean = _usable_bytes(described, word) / max(sum(described.values()), 1)
    return max(0, usable_bytes(word * held, pointer_bytes=word) - round(mean * (made - held)))


def _call_blocks(values: Census, word: int) -> Counter[int]:
    """Return the blocks made for calls, by size: arguments, their descriptions, and the order of their dimensions."""
    blocks: Counter[int] = Counter()
    for (arguments, ranks), count in values.calls.items():
        blocks[word * arguments] += count
        blocks[3 * word * arguments] += count
        for rank in ranks:
            blocks[rank] += count
    return blocks


def _room(blocks: int) -> int:
    """Return how many blocks the allocator's list has room for: it grows by doubling."""
    return 1 << max(blocks - 1, 0).bit_length()


def _usable_bytes(blocks: Counter[int], word: int) -> int:
    return sum(usable_bytes(size, pointer_bytes=word) * count for size, count in blocks.items())
