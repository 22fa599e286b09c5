"""XNNPACK's workspace planner on small cases, and what shares memory."""

from hypothesis import given
from hypothesis import strategies as st

from edgebudget.runtimes._xnnpack.memory_planner import Usage, plan_arena, rounded_nbytes
from edgebudget.runtimes._xnnpack.operators import SIMPLE
from edgebudget.runtimes._xnnpack.subgraph import Subgraph, XnnNode
from edgebudget.runtimes._xnnpack.workspace import hold_in_workspace, plan_workspace


def test_sizes_are_rounded_to_the_extra_bytes_and_the_alignment() -> None:
    assert rounded_nbytes(1, 16) == 16
    assert rounded_nbytes(17, 16) == 32
    assert rounded_nbytes(17, 64) == 64
    assert rounded_nbytes(64, 64) == 64


def test_nothing_planned_is_nothing() -> None:
    assert plan_arena([])[1] == 0
    assert plan_arena([Usage(0, 0, 3)])[1] == 0


def test_what_does_not_meet_in_time_shares_space() -> None:
    assert plan_arena([Usage(100, 0, 1), Usage(100, 2, 3)])[1] == 100
    assert plan_arena([Usage(100, 0, 2), Usage(100, 2, 3)])[1] == 200


def test_the_smallest_gap_that_fits_is_taken() -> None:
    # By size: 64 over all time at 0; 48 later at 64. Before node 4, 16 goes behind 64, not into a gap of its own.
    blocks = [Usage(64, 0, 9), Usage(48, 5, 9), Usage(16, 0, 4)]
    assert plan_arena(blocks)[1] == 112
    # Gaps of 32 (at 0..32) and 16 (at 96..112) between blocks alive at node 5: the 16 goes into the 16.
    early = [Usage(32, 0, 3), Usage(64, 0, 9)]
    assert plan_arena([*early, Usage(16, 5, 9)])[1] == 96


def _workspace_nbytes(sub: Subgraph, *scratch: tuple[int, int]) -> int:
    return plan_workspace(hold_in_workspace(sub, 4), scratch, 64).nbytes


def _chain(kinds: list[str], sizes: list[int]) -> Subgraph:
    """Nodes in a row: each reads the value before it; first and last value are external."""
    sub = Subgraph(sizes=list(sizes), external=[False] * len(sizes), int8=[False] * len(sizes))
    sub.external[0] = sub.external[-1] = True
    sub.nodes = [XnnNode(kind, [i], i + 1, SIMPLE, kind) for i, kind in enumerate(kinds)]
    return sub


def test_a_unary_node_writes_over_its_input() -> None:
    # external -> conv -> v1 -> unary -> v2 -> conv -> external: v2 lies over v1.
    sizes = [64, 640, 640, 64]
    assert _workspace_nbytes(_chain(["convolution", "unary", "convolution"], sizes)) == 640 + 32
    assert _workspace_nbytes(_chain(["convolution", "convolution", "convolution"], sizes)) == 1280 + 32


def test_it_does_not_where_sizes_differ_or_the_input_has_another_reader() -> None:
    assert _workspace_nbytes(_chain(["convolution", "convert", "convolution"], [64, 640, 2560, 64])) == 3200 + 32
    sub = _chain(["convolution", "unary", "binary"], [64, 640, 640, 640])
    sub.nodes[2].inputs = [1, 2]
    assert _workspace_nbytes(sub) == 1280 + 32


def test_scratch_stands_beside_the_values_of_its_node() -> None:
    sub = _chain(["convolution", "bmm", "convolution"], [64, 640, 640, 64])
    assert _workspace_nbytes(sub, (1, 1000)) == 640 + 640 + 1024 + 32


def test_what_is_alive_at_each_node() -> None:
    held = hold_in_workspace(_chain(["convolution", "convolution", "convolution"], [64, 640, 320, 64]), 4)
    assert held.alive == (640, 960, 320)
    assert held.alive_numel == (160, 240, 80)


@given(
    st.lists(
        st.tuples(st.integers(1, 50), st.integers(0, 12), st.integers(0, 6)).map(
            lambda t: Usage(t[0] * 16, t[1], t[1] + t[2])
        ),
        max_size=25,
    )
)
def test_no_arena_is_below_what_is_alive_at_once(usages: list[Usage]) -> None:
    alive = [sum(u.nbytes for u in usages if u.first <= t <= u.last) for t in range(20)]
    assert max(alive, default=0) <= plan_arena(usages)[1] <= sum(u.nbytes for u in usages)
