"""ExecuTorch's greedy planner, by hand: exir/memory_planning.py, `pick_shared_obj`."""

from hypothesis import given
from hypothesis import strategies as st

from edgebudget.planning import Buffer, lower_bound, verify_plan
from edgebudget.planning.executorch_greedy import executorch_greedy


def offsets(*buffers: tuple[int, int, int]) -> tuple[tuple[int, ...], int]:
    plan = executorch_greedy([Buffer(i, *buffer) for i, buffer in enumerate(buffers)])
    return plan.offsets, plan.nbytes


def test_no_buffers_take_nothing() -> None:
    assert offsets() == ((), 0)


def test_sizes_are_rounded_up_to_16_bytes() -> None:
    assert offsets((1, 0, 1), (17, 1, 2)) == ((32, 0), 48)


def test_buffers_apart_in_time_share_a_bucket_from_its_start() -> None:
    assert offsets((64, 0, 1), (48, 2, 3), (32, 4, 5)) == ((0, 0, 0), 64)


def test_a_lifetime_includes_its_last_node() -> None:
    assert offsets((64, 0, 2), (64, 2, 3)) == ((64, 0), 128)


def test_among_equals_the_one_met_last_comes_first() -> None:
    assert offsets((32, 0, 9), (32, 0, 9), (32, 0, 9)) == ((64, 32, 0), 96)


def test_what_overlaps_goes_above_the_highest_of_its_neighbours() -> None:
    # A bucket of 128 whose owner is gone by node 5; two small ones alive together stack up inside it.
    assert offsets((128, 0, 4), (48, 5, 9), (32, 6, 9)) == ((0, 0, 48), 128)


def test_a_free_bucket_is_taken_before_a_gap_in_an_earlier_one() -> None:
    # The third overlaps the second, which lies in the first bucket, but the other bucket is free in its time.
    assert offsets((128, 0, 4), (64, 5, 9), (112, 0, 4), (32, 5, 9)) == ((0, 0, 128, 128), 240)


def test_a_hole_below_a_neighbour_is_not_used() -> None:
    # At node 8 only the buffer at 64..112 is alive in the bucket, with 64 bytes free below it and none above.
    assert offsets((112, 0, 4), (64, 5, 6), (48, 5, 9), (32, 8, 9)) == ((0, 0, 64, 112), 144)


def test_buckets_never_grow() -> None:
    # Larger ones are placed first, so a bucket cannot hold what comes with a longer life beside its owner.
    assert offsets((64, 0, 9), (48, 0, 9), (32, 0, 9)) == ((0, 64, 112), 144)


def test_empty_buffers_share_whatever_is_there() -> None:
    assert offsets((64, 0, 9), (0, 3, 4))[1] == 64


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 20), st.integers(0, 20)), max_size=40))
def test_plans_are_valid_and_never_below_the_bound(rows: list[tuple[int, int, int]]) -> None:
    buffers = [Buffer(i, nbytes, min(a, b), max(a, b)) for i, (nbytes, a, b) in enumerate(rows)]
    plan = executorch_greedy(buffers)
    verify_plan(plan, 16)
    assert lower_bound(buffers) <= plan.nbytes
