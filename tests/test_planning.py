"""Planners and their verifier: by hand, and over random lifetimes."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebudget.planning import (
    ArenaPlan,
    Buffer,
    PlanError,
    Planner,
    align,
    best_plan,
    greedy_by_size,
    live_bytes,
    lower_bound,
    naive,
    verify_plan,
)
from edgebudget.planning.canonical import search_within
from edgebudget.planning.exact import plan_within, solve_within
from edgebudget.planning.executorch_greedy import executorch_greedy
from edgebudget.planning.from_peak import from_peak
from edgebudget.planning.greedy import first_fit

PLANNERS = [naive, greedy_by_size, from_peak, best_plan]
alignments = st.sampled_from([1, 4, 16, 64])


@st.composite
def lifetimes(draw: st.DrawFn) -> list[Buffer]:
    count = draw(st.integers(0, 12))
    spans = [sorted(draw(st.tuples(st.integers(-1, 9), st.integers(-1, 9)))) for _ in range(count)]
    return [Buffer(i, draw(st.integers(0, 200)), first, last) for i, (first, last) in enumerate(spans)]


def overlap(one: Buffer, other: Buffer) -> bool:
    return one.first <= other.last and other.first <= one.last


@pytest.mark.parametrize("planner", PLANNERS)
@given(buffers=lifetimes(), alignment=alignments)
def test_no_two_live_buffers_share_a_byte(planner: Planner, buffers: list[Buffer], alignment: int) -> None:
    plan = planner(buffers, alignment)
    verify_plan(plan, alignment)
    assert plan.buffers == tuple(buffers)
    for i, one in enumerate(buffers):  # once more, without the verifier
        assert plan.offsets[i] % alignment == 0
        assert 0 <= plan.offsets[i] <= plan.nbytes - one.nbytes
        for j, other in enumerate(buffers[:i]):
            apart = plan.offsets[i] + one.nbytes <= plan.offsets[j] or plan.offsets[j] + other.nbytes <= plan.offsets[i]
            assert apart or not overlap(one, other) or 0 in (one.nbytes, other.nbytes)


@given(buffers=lifetimes(), alignment=alignments)
def test_the_bound_is_below_greedy_and_greedy_below_naive(buffers: list[Buffer], alignment: int) -> None:
    bound, greedy = lower_bound(buffers), greedy_by_size(buffers, alignment).nbytes
    assert bound <= greedy <= naive(buffers, alignment).nbytes
    assert naive(buffers, alignment).nbytes == sum(align(b.nbytes, alignment) for b in buffers)


@given(buffers=lifetimes())
def test_the_curve_peaks_at_the_bound(buffers: list[Buffer]) -> None:
    alive = [b for b in buffers if b.last >= 0]  # the curve starts at operator 0
    curve = live_bytes(alive, 10)
    assert max(curve) == lower_bound(alive)
    assert curve == [sum(b.nbytes for b in alive if b.first <= step <= b.last) for step in range(10)]


def test_lifetimes_are_cut_to_the_steps() -> None:
    assert live_bytes([Buffer(0, 5, -1, 99), Buffer(1, 7, 3, 9), Buffer(2, 9, -1, -1)], 2) == [5, 5]
    assert live_bytes([], 3) == [0, 0, 0]
    assert lower_bound([]) == 0


def test_inclusive_ends_meet() -> None:
    # the first lives at 0 and 1, the second at 1 and 2: together at 1; the third only after both
    buffers = [Buffer(0, 10, 0, 1), Buffer(1, 20, 1, 2), Buffer(2, 30, 3, 3)]
    assert lower_bound(buffers) == 30
    plan = greedy_by_size(buffers)
    assert plan.nbytes == 30
    assert plan.offsets == (20, 0, 0)  # by size: 30 at 0, 20 at 0, 10 above the 20 it meets
    assert naive(buffers).offsets == (0, 10, 30)


def test_greedy_fills_the_first_gap_that_fits() -> None:
    # 40 at 0 and 30 at 40 are always alive; 20 leaves its gap at 70 free; 10 fits there
    buffers = [Buffer(0, 40, 0, 9), Buffer(1, 30, 0, 9), Buffer(2, 20, 0, 4), Buffer(3, 10, 5, 9)]
    assert greedy_by_size(buffers).offsets == (0, 40, 70, 70)


def test_greedy_is_not_always_best() -> None:
    # At operator 2, 2 + 2 + 3 are alive, and 7 would do. Greedy puts 4 and 3 at 0, the first 2 above both at 4, and
    # between 3 and 4 there is no room for the second 2.
    buffers = [Buffer(0, 2, 0, 4), Buffer(1, 2, 2, 3), Buffer(2, 3, 1, 2), Buffer(3, 4, 0, 0)]
    assert lower_bound(buffers) == 7
    plan = greedy_by_size(buffers)
    assert (plan.offsets, plan.nbytes) == ((4, 6, 0, 0), 8)


def test_alignment_rounds_every_size() -> None:
    plan = naive([Buffer(0, 1, 0, 0), Buffer(1, 17, 0, 0)], 16)
    assert (plan.offsets, plan.nbytes) == ((0, 16), 48)
    assert [align(n, 16) for n in (0, 1, 16, 17)] == [0, 16, 16, 32]


@pytest.mark.parametrize(
    ("offsets", "nbytes", "alignment", "message"),
    [
        ((0, 9), 20, 1, "buffers 0 and 1 overlap at offset 9 at operator 1"),
        ((0, 0), 20, 1, "overlap"),
        ((0, 10), 19, 1, "leaves the arena of 19 bytes"),
        ((-1, 10), 20, 1, "buffer 0 at -1"),
        ((0, 10), 20, 4, "buffer 1 at 10 is misaligned"),
    ],
)
def test_the_verifier_rejects(offsets: tuple[int, ...], nbytes: int, alignment: int, message: str) -> None:
    plan = ArenaPlan((Buffer(0, 10, 0, 1), Buffer(1, 10, 1, 2)), offsets, nbytes)
    with pytest.raises(PlanError, match=message):
        verify_plan(plan, alignment)


@given(buffers=lifetimes(), data=st.data())
def test_the_verifier_rejects_planted_overlaps(buffers: list[Buffer], data: st.DataObject) -> None:
    pairs = [
        (i, j)
        for i, one in enumerate(buffers)
        for j, other in enumerate(buffers)
        if i != j and overlap(one, other) and one.nbytes and other.nbytes
    ]
    if not pairs:
        return
    plan = greedy_by_size(buffers)
    moved, onto = data.draw(st.sampled_from(pairs))
    offsets = list(plan.offsets)
    offsets[moved] = offsets[onto] + data.draw(st.integers(0, buffers[onto].nbytes - 1))
    with pytest.raises(PlanError):
        verify_plan(ArenaPlan(plan.buffers, tuple(offsets), plan.nbytes))


def plain_first_fit(buffers: list[Buffer], alignment: int) -> list[int]:
    """The definition, without any index: the lowest free offset, largest buffer first."""
    offsets = [0] * len(buffers)
    placed: list[int] = []
    for i in sorted(range(len(buffers)), key=lambda i: -buffers[i].nbytes):
        met = [j for j in placed if overlap(buffers[i], buffers[j]) and buffers[j].nbytes]
        ends = sorted({0, *(offsets[j] + align(buffers[j].nbytes, alignment) for j in met)})
        size = align(buffers[i].nbytes, alignment)
        offsets[i] = next(
            start
            for start in ends
            if all(start + size <= offsets[j] or offsets[j] + align(buffers[j].nbytes, alignment) <= start for j in met)
        )
        placed.append(i)
    return offsets


@given(buffers=lifetimes(), alignment=alignments)
def test_greedy_is_first_fit_by_size(buffers: list[Buffer], alignment: int) -> None:
    assert list(greedy_by_size(buffers, alignment).offsets) == plain_first_fit(buffers, alignment)


@given(buffers=lifetimes(), alignment=alignments)
def test_the_best_plan_is_no_worse_than_any_greedy_one(buffers: list[Buffer], alignment: int) -> None:
    best = best_plan(buffers, alignment).nbytes
    assert best <= greedy_by_size(buffers, alignment).nbytes
    assert best <= executorch_greedy(buffers, alignment).nbytes
    assert best >= lower_bound(buffers)


def test_the_best_plan_finds_what_greedy_misses() -> None:
    buffers = [Buffer(0, 2, 0, 4), Buffer(1, 2, 2, 3), Buffer(2, 3, 1, 2), Buffer(3, 4, 0, 0)]
    assert (greedy_by_size(buffers).nbytes, best_plan(buffers).nbytes) == (8, 7)


def test_an_order_of_ones_own() -> None:
    buffers = [Buffer(0, 4, 0, 1), Buffer(1, 8, 1, 2)]
    assert first_fit(buffers, [0, 1]).offsets == (0, 4)
    assert first_fit(buffers, [1, 0]).offsets == (8, 0)


def test_an_exact_plan_is_found_or_denied() -> None:
    buffers = [Buffer(0, 2, 0, 4), Buffer(1, 2, 2, 3), Buffer(2, 3, 1, 2), Buffer(3, 4, 0, 0)]
    for search in (search_within, plan_within):
        plan = search(buffers, 7, seconds=30)
        assert plan is not None
        verify_plan(plan)
        assert plan.nbytes == 7
        assert search(buffers, 6, seconds=30) is None
        assert search([], 0, seconds=1) == ArenaPlan((), (), 0)


@settings(deadline=None)
@given(buffers=lifetimes(), alignment=alignments, spare=st.integers(0, 40))
def test_a_search_finds_what_any_planner_finds(buffers: list[Buffer], alignment: int, spare: int) -> None:
    best = best_plan(buffers, alignment).nbytes
    capacity = max(best - spare, 0)
    plan = search_within(buffers, capacity, seconds=60, alignment=alignment)
    if plan is None:
        assert spare  # what was planned is found; below it there may be none
        return
    verify_plan(plan, alignment)
    assert plan.buffers == tuple(buffers)
    assert lower_bound(buffers) <= plan.nbytes <= capacity


@settings(deadline=None)
@given(buffers=lifetimes())
def test_both_searches_agree(buffers: list[Buffer]) -> None:
    pytest.importorskip("ortools")
    capacity = lower_bound(buffers)
    found = search_within(buffers, capacity, seconds=60)
    solved = solve_within(buffers, capacity, seconds=60)
    assert (found is None) == (solved is None)
    for plan in (found, solved):
        if plan is not None:
            verify_plan(plan)
            assert plan.nbytes == capacity


def test_a_search_ends_when_its_time_is_over() -> None:
    numbers = random.Random(1)
    buffers = [Buffer(i, numbers.randint(50, 99), i // 3, i // 3 + numbers.randint(0, 20)) for i in range(400)]
    start = time.monotonic()
    plan = search_within(buffers, lower_bound(buffers), seconds=0.5)
    assert plan is None or plan.nbytes == lower_bound(buffers)
    assert time.monotonic() - start < 20


LONGEST = [5, 1_000, 10**6]  # operators that a buffer lives: a few; many; as good as all


def many(count: int, longest: int) -> list[Buffer]:
    numbers = random.Random(0)
    return [Buffer(i, numbers.randint(1, 2**20), i, i + numbers.randint(1, longest)) for i in range(count)]


@pytest.mark.parametrize("longest", LONGEST)
def test_time_grows_with_the_buffers_and_not_with_their_square(longest: int) -> None:
    def seconds(count: int) -> float:
        buffers = many(count, longest)
        start = time.process_time()
        from_peak(buffers)
        return time.process_time() - start

    small = min(seconds(5_000) for _ in range(3))
    assert seconds(40_000) < 32 * small  # 8 times the buffers; their square would be 64 times


@pytest.mark.parametrize("longest", LONGEST)
def test_twenty_thousand_buffers_are_planned_as_well_as_few(longest: int) -> None:
    buffers = many(20_000, longest)
    start = time.process_time()
    plan = best_plan(buffers)
    assert time.process_time() - start < 10  # about one; a plan by pairs alone would take a minute
    verify_plan(plan)
    assert plan.nbytes < 1.1 * lower_bound(buffers)


def test_what_is_alive_at_the_peak_is_stacked_without_holes() -> None:
    # 4 + 3 + 2 at operator 2: the longest lowest; before and after, best fit into what they leave
    buffers = [Buffer(0, 4, 2, 2), Buffer(1, 3, 0, 4), Buffer(2, 2, 2, 3), Buffer(3, 4, 3, 4), Buffer(4, 5, 0, 1)]
    plan = from_peak(buffers)
    assert (plan.offsets, plan.nbytes) == ((5, 0, 3, 5, 3), 9)


@given(buffers=lifetimes())
def test_an_arena_from_the_peak_is_full_there_and_in_order_of_the_buffers(buffers: list[Buffer]) -> None:
    plan = from_peak(buffers)
    assert lower_bound(buffers) <= plan.nbytes <= naive(buffers).nbytes
    nested = [Buffer(b.id, b.nbytes, -b.last - 2, b.last + 2) for b in buffers]
    assert from_peak(nested).nbytes == lower_bound(nested)  # all alive at the peak: no planner can do better
