"""One delegate, compiled: what it keeps, what it needs while it is compiled, and what its first run adds."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgebudget.runtimes._glibc import PAGE_BYTES, usable_bytes
from edgebudget.runtimes._xnnpack.edge import EdgeGraph
from edgebudget.runtimes._xnnpack.memory_planner import EXTRA_BYTES, rounded_nbytes
from edgebudget.runtimes._xnnpack.method import Step
from edgebudget.runtimes._xnnpack.operators import Cost, Priced
from edgebudget.runtimes._xnnpack.subgraph import DATA_ALIGNMENT, Subgraph, build
from edgebudget.runtimes._xnnpack.tiles import Tiles
from edgebudget.runtimes._xnnpack.workspace import Block, Held, Workspace, hold_in_workspace, plan_workspace

# What xnn_create_runtime_v4 keeps (runtime.c): struct xnn_operator_data a node with a block of time stamps (the wheel
# profiles: ET_EVENT_TRACER_ENABLED), struct xnn_runtime_value a value; and ExecuTorch's XNNExecutor.
NODE_BYTES, STAMP_BYTES, VALUE_BYTES, EXECUTOR_BYTES = 240, 88, 160, 280
NAME_BYTES = 28  # an operator's name in the profiler's list: 21 to 30 characters in four recorded programs
# What the subgraph holds until the runtime is made (subgraph.c, xnn_subgraph_reserve_*): struct xnn_node, xnn_value.
SUBGRAPH_NODE_BYTES, SUBGRAPH_VALUE_BYTES = 232, 224
# XNNCompiler.cpp: a FreeableBuffer for each constant, and an entry of `remapped_ids` for each value and of
# `packed_value_ids` for each weight and bias (a node of 24 bytes and its share of the buckets).
CONSTANT_BUFFER_BYTES, MAP_ENTRY_BYTES = 40, 34
# The program file (serialization/schema.fbs and the program's named data): for each array of constants, weights and
# scales alike, its SHA-256 in hexadecimal twice with the tables around it; a value's tables and shape and its share of
# the nodes'; a delegate's header, its entry in the program, and padding. Keys were counted in three files, the others
# are the least squares over the int8 files of 12 models whose weights all differ, within 0.3 % of each file.
KEY_FILE_BYTES, VALUE_FILE_BYTES, DELEGATE_FILE_BYTES, CALL_FILE_BYTES = 190, 142, 1_310, 144

PARTIAL_PAGES_BYTES = PAGE_BYTES - DATA_ALIGNMENT
"""What mapping a piece of the file takes beyond the piece, on average over the places where it may begin: the loader
maps the whole pages that hold it, and those that it shares with its neighbours once for each
(extension/data_loader/mmap_data_loader.cpp, `get_overlapping_pages`)."""


@dataclass(frozen=True)
class Body:
    """What of a delegate has a price: the same for each of the blocks that a model repeats.

    `costs` are the different ones of its nodes, `nodes_of` the nodes that have each; what is `held` in the workspace is
    by node. Structures and what is freed once it is compiled (`transient`) are those of the 64-bit build.
    """

    costs: tuple[Cost | Priced, ...]
    nodes_of: tuple[tuple[int, ...], ...]
    structure_bytes: int
    transient_bytes: int
    tabulated_bytes: int
    held: Held
    _workspaces: dict[tuple[object, ...], Workspace] = field(default_factory=dict, repr=False, compare=False)

    def workspace(self, scratch: tuple[tuple[int, int], ...], alignment: int) -> Workspace:
        """Return the workspace where nodes take `scratch`: (node, bytes). Most tables ask for the same one."""
        key = (scratch, alignment)
        if key not in self._workspaces:
            self._workspaces[key] = plan_workspace(self.held, scratch, alignment)
        return self._workspaces[key]


@dataclass(frozen=True)
class Compiled:
    """A delegate before it is known which kernels run it.

    `stored` maps its constants to their bytes in the file, which are mapped while it is compiled: `mapped_bytes`, with
    its description, each piece by itself in whole pages. `names` are by node.
    """

    body: Body
    total_bytes: int
    program_bytes: int
    stored: Mapping[tuple[int, int], int]
    mapped_bytes: int
    names: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Delegate:
    """A delegate's bytes: kept from load on (`packed`, `structure`), freed once it is compiled (`transient`), freed
    before anything is packed (`table`), added by its first run (`shaped`, of which `unwritten` stays as it is), and its
    workspace with the values in it.
    """

    packed_bytes: int
    structure_bytes: int
    transient_bytes: int
    table_bytes: int
    shaped_bytes: int
    unwritten_bytes: int
    workspace_bytes: int
    blocks: tuple[Block, ...]


def compile_delegate(step: Step, graph: EdgeGraph) -> Compiled:
    """Return the delegate that `step` calls, as far as no kernel table changes it. Pure."""
    sub = build(step, graph)
    values = len(sub.sizes) + sub.constants + sub.scalars + sub.dropped
    structures = EXECUTOR_BYTES + len(sub.nodes) * (NODE_BYTES + STAMP_BYTES + NAME_BYTES) + values * VALUE_BYTES
    nodes_of: dict[Cost | Priced, list[int]] = {}
    for i, node in enumerate(sub.nodes):
        nodes_of.setdefault(node.cost, []).append(i)
    described = DELEGATE_FILE_BYTES + values * VALUE_FILE_BYTES + (sub.constants + sub.scales) * KEY_FILE_BYTES
    return Compiled(
        body=Body(
            costs=tuple(nodes_of),
            nodes_of=tuple([tuple(nodes) for nodes in nodes_of.values()]),
            structure_bytes=structures,
            transient_bytes=_transient_bytes(sub),
            tabulated_bytes=sub.tabulated_bytes,
            held=hold_in_workspace(sub, graph.element_bytes),
        ),
        total_bytes=sum([n for n, outside in zip(sub.sizes, sub.external, strict=True) if not outside]),
        program_bytes=described,
        stored=sub.stored,
        mapped_bytes=described + sum(sub.stored.values()) + (1 + sub.constants + sub.scales) * PARTIAL_PAGES_BYTES,
        names=tuple([(node.module, node.name) for node in sub.nodes]),
    )


def price(body: Body, tiles: Tiles) -> Delegate:
    """Return what a delegate takes on a target with `tiles`. Pure."""
    structures, packed, shaped, unwritten = body.structure_bytes, 0, 0, 0
    scratch: list[tuple[int, int]] = []
    for same, nodes in zip(body.costs, body.nodes_of, strict=True):
        cost = same.on(tiles)
        structures += cost.structures * len(nodes)
        packed += cost.packed * len(nodes)
        shaped += cost.shaped * len(nodes)
        unwritten += cost.unwritten * len(nodes)
        if cost.workspace:
            scratch += [(node, cost.workspace) for node in nodes]
    share = tiles.pointer_bytes / 8  # structures are pointers and size_t: half as large where pointers are
    work = body.workspace(tuple(sorted(scratch)), tiles.alignment)
    return Delegate(
        packed_bytes=packed,
        structure_bytes=int(structures * share),
        transient_bytes=int(body.transient_bytes * share),
        table_bytes=_table_bytes(body.tabulated_bytes, tiles),
        shaped_bytes=shaped,
        unwritten_bytes=unwritten,
        workspace_bytes=usable_bytes(work.nbytes, tiles.alignment) if work.nbytes else 0,
        blocks=work.blocks,
    )


def _transient_bytes(sub: Subgraph) -> int:
    defined = len(sub.sizes) + sub.constants + sub.scalars + sub.clamps
    buffers = sub.constants + sub.scales
    return (
        _reserved(sub.defined_nodes) * SUBGRAPH_NODE_BYTES
        + _reserved(defined, sum(sub.external)) * SUBGRAPH_VALUE_BYTES
        + (1 << (buffers - 1).bit_length() if buffers else 0) * CONSTANT_BUFFER_BYTES  # a std::vector doubles
        + (defined - sub.clamps + sub.constants) * MAP_ENTRY_BYTES
    )


def _table_bytes(tabulated_bytes: int, tiles: Tiles) -> int:
    """Return the workspace in which a chain of unary operators is run once, to fill the table that replaces it.

    subgraph.c, run_subgraph_to_make_lut: its inner values keep the shapes of the model, and each is computed in place.
    """
    if not tabulated_bytes:
        return 0
    return usable_bytes(rounded_nbytes(tabulated_bytes, tiles.alignment) + 2 * EXTRA_BYTES, tiles.alignment)


def _reserved(count: int, capacity: int = 0) -> int:
    """Return the capacity that holds `count` records, starting from `capacity`: xnn_subgraph_reserve_values."""
    while capacity < count:
        capacity = max(min(capacity * 2, capacity + 512), capacity + 64)
    return capacity
