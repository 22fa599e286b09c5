"""A delegate's workspace: which values share memory, what is alive at each node, and where it all stands.

Read in XNNPACK's src/runtime.c: xnn_plan_memory, optimize_tensor_allocation_for_in_place_operations,
initialize_workspace_values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from edgebudget.runtimes._xnnpack.memory_planner import EXTRA_BYTES, Usage, plan_arena, rounded_nbytes
from edgebudget.runtimes._xnnpack.subgraph import Subgraph

_IN_PLACE = frozenset({"unary", "convert", "binary", "copy", "softmax", "reshape"})


class Block(NamedTuple):
    """A value in the workspace: the nodes from which to which it is held, both inclusive, and its offset."""

    nbytes: int
    first: int
    last: int
    offset: int


@dataclass(frozen=True, slots=True)
class Held:
    """The values that a workspace is for, as (bytes, first and last node); bytes and elements alive while each node
    runs."""

    values: tuple[tuple[int, int, int], ...]
    alive: tuple[int, ...]
    alive_numel: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Workspace:
    """`nbytes` as allocated, 0 where nothing is planned; `blocks`, the values in it."""

    nbytes: int
    blocks: tuple[Block, ...]


def hold_in_workspace(sub: Subgraph, element_bytes: int) -> Held:
    """Return what `sub`, whose floating-point values take `element_bytes`, holds in its workspace and when. Pure.

    A unary, binary, copy, softmax or reshape node writes over an input of its output's size when both have one reader.
    """
    first, last, readers = _lifetimes(sub)
    sizes = [0 if outside else nbytes for nbytes, outside in zip(sub.sizes, sub.external, strict=True)]
    root = list(range(len(sizes)))
    for node in sub.nodes:
        result = node.output
        if node.kind not in _IN_PLACE or sub.external[result] or len(readers[result]) != 1:
            continue
        for value in node.inputs:
            if not sub.external[value] and len(readers[value]) == 1 and sub.sizes[value] == sub.sizes[result]:
                root[result] = root[value]
                sizes[result] = 0
                last[root[value]] = readers[result][0]
                break
    count = len(sub.nodes)
    change, elements = [0] * (count + 1), [0] * (count + 1)
    values: list[tuple[int, int, int]] = []
    # Values are numbered as the nodes that make them are defined, which settles ties.
    for value in sorted(range(len(sizes)), key=first.__getitem__):
        nbytes = sizes[value]
        if not nbytes or first[value] < 0:
            continue
        start, end = first[value], last[value]
        values.append((nbytes, start, end))
        numel = nbytes if sub.int8[value] else nbytes // element_bytes
        change[start] += nbytes
        change[end + 1] -= nbytes
        elements[start] += numel
        elements[end + 1] -= numel
    return Held(tuple(values), tuple(accumulate(change[:count])), tuple(accumulate(elements[:count])))


def plan_workspace(held: Held, scratch: Sequence[tuple[int, int]], alignment: int) -> Workspace:
    """Return the workspace XNNPACK plans for the values in `held` and for `scratch`: (node, bytes it takes). Pure."""
    usages = [Usage(rounded_nbytes(nbytes, alignment), first, last) for nbytes, first, last in held.values]
    usages += [Usage(rounded_nbytes(nbytes, alignment), node, node) for node, nbytes in scratch]
    offsets, arena = plan_arena(usages)
    return Workspace(
        arena + 2 * EXTRA_BYTES if arena else 0,
        tuple([Block(*value, offset) for value, offset in zip(held.values, offsets, strict=False)]),
    )


def _lifetimes(sub: Subgraph) -> tuple[list[int], list[int], list[list[int]]]:
    count = len(sub.sizes)
    first, last = [-1] * count, [0] * count
    readers: list[list[int]] = [[] for _ in range(count)]
    for i, node in enumerate(sub.nodes):
        for value in dict.fromkeys(node.inputs):
            if first[value] < 0:
                first[value] = i
            last[value] = i
            readers[value].append(i)
        output = node.output
        if first[output] < 0:
            first[output] = i
        last[output] = i
    return first, last, readers
