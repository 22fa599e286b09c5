"""One delegate, compiled: what it keeps, what it needs while it is compiled, and what its first run adds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgebudget.runtimes._glibc import usable_bytes
from edgebudget.runtimes._xnnpack.edge import EdgeGraph, EdgeOp
from edgebudget.runtimes._xnnpack.memory_planner import EXTRA_BYTES, rounded_nbytes
from edgebudget.runtimes._xnnpack.method import Step
from edgebudget.runtimes._xnnpack.subgraph import Subgraph, build
from edgebudget.runtimes._xnnpack.tiles import Tiles
from edgebudget.runtimes._xnnpack.workspace import Block, Workspace, plan_workspace

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


@dataclass(frozen=True, slots=True)
class Delegate:
    """A delegate's bytes: kept from load on (`packed`, `structure`), freed once it is compiled (`transient`), freed
    before anything is packed (`table`), added by its first run (`shaped`), and its workspace.

    `stored` maps its constants to their bytes in the file, which are mapped while it is compiled. `blocks`
    are the values in the workspace, `alive` and `alive_numel` what they take at each node.
    """

    packed_bytes: int
    structure_bytes: int
    transient_bytes: int
    table_bytes: int
    shaped_bytes: int
    workspace_bytes: int
    total_bytes: int
    program_bytes: int
    stored: Mapping[int, int]
    names: tuple[tuple[str, str], ...]
    blocks: tuple[Block, ...]
    alive: tuple[int, ...]
    alive_numel: tuple[int, ...]


def compile_delegate(step: Step, graph: EdgeGraph, readers: Mapping[int, Sequence[EdgeOp]], tiles: Tiles) -> Delegate:
    """Return what the delegate that `step` calls takes on a target with `tiles`. Pure."""
    sub = build(step, graph, readers, tiles)
    values = len(sub.sizes) + sub.constants + sub.scalars + sub.dropped
    structures = sum([node.cost.structures for node in sub.nodes]) + EXECUTOR_BYTES
    structures += len(sub.nodes) * (NODE_BYTES + STAMP_BYTES + NAME_BYTES) + values * VALUE_BYTES
    share = tiles.pointer_bytes / 8  # structures are pointers and size_t: half as large where pointers are
    work: Workspace = plan_workspace(sub, tiles.alignment, graph.element_bytes)
    return Delegate(
        packed_bytes=sum([node.cost.packed for node in sub.nodes]),
        structure_bytes=int(structures * share),
        transient_bytes=int(_transient_bytes(sub) * share),
        table_bytes=_table_bytes(sub, tiles),
        shaped_bytes=sum([node.cost.shaped for node in sub.nodes]),
        workspace_bytes=usable_bytes(work.nbytes, tiles.alignment) if work.nbytes else 0,
        total_bytes=sum([n for n, outside in zip(sub.sizes, sub.external, strict=True) if not outside]),
        program_bytes=DELEGATE_FILE_BYTES + values * VALUE_FILE_BYTES + (sub.constants + sub.scales) * KEY_FILE_BYTES,
        stored=sub.stored,
        names=tuple([(node.module, node.name) for node in sub.nodes]),
        blocks=work.blocks,
        alive=work.alive,
        alive_numel=work.alive_numel,
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


def _table_bytes(sub: Subgraph, tiles: Tiles) -> int:
    """Return the workspace in which a chain of unary operators is run once, to fill the table that replaces it.

    subgraph.c, run_subgraph_to_make_lut: its inner values keep the shapes of the model, and each is computed in place.
    """
    if not sub.tabulated_bytes:
        return 0
    return usable_bytes(rounded_nbytes(sub.tabulated_bytes, tiles.alignment) + 2 * EXTRA_BYTES, tiles.alignment)


def _reserved(count: int, capacity: int = 0) -> int:
    """Return the capacity that holds `count` records, starting from `capacity`: xnn_subgraph_reserve_values."""
    while capacity < count:
        capacity = max(min(capacity * 2, capacity + 512), capacity + 64)
    return capacity
