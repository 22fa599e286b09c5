"""The smallest plan that several orders and a search between them find."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import count, islice

from edgebudget.planning.executorch_greedy import executorch_greedy
from edgebudget.planning.from_peak import from_peak
from edgebudget.planning.greedy import first_fit, greedy_by_size
from edgebudget.planning.interface import ArenaPlan, Buffer
from edgebudget.planning.lifetimes import align, busiest

ROUNDS = 70  # of the search, in each of three orders
EFFORT = 4_000_000  # pairs alive together, over all plans tried: about a second
EFFORT_PER_BUFFER = 20  # what a buffer costs by itself, in pairs


def best_plan(buffers: Sequence[Buffer], alignment: int = 1) -> ArenaPlan:
    """Return the smallest of: from the peak, greedy by size, ExecuTorch's greedy, first fit in other orders, a search.

    The search places earlier what stood too high in the last plan, `ROUNDS` times from each of three orders; all ends
    as soon as a plan takes no more than the lower bound. From the peak takes n log n time. The others take time in the
    pairs that are alive together and are made while `EFFORT` lasts, so that many buffers take about a second more:
    never above ExecuTorch's up to half that many pairs.
    """
    _, bound = busiest((b.id, align(b.nbytes, alignment), b.first, b.last) for b in buffers)
    affordable = EFFORT // (EFFORT_PER_BUFFER * len(buffers) + _pairs(buffers) + 1)
    best = from_peak(buffers, alignment)
    for plan in islice(_plans(buffers, alignment, bound), affordable):
        best = min(best, plan, key=lambda plan: plan.nbytes)
        if best.nbytes <= bound:
            break
    return best


def _pairs(buffers: Sequence[Buffer]) -> int:
    """Return how many pairs of buffers are alive together: all, but those where one ends before the other begins."""
    ends = sorted(b.last for b in buffers)
    return len(buffers) * (len(buffers) - 1) // 2 - sum(bisect_left(ends, b.first) for b in buffers)


def _plans(buffers: Sequence[Buffer], alignment: int, bound: int) -> Iterator[ArenaPlan]:
    yield greedy_by_size(buffers, alignment)
    yield executorch_greedy(buffers, alignment)
    indices = range(len(buffers))
    lengths = [b.last - b.first + 1 for b in buffers]
    sizes = [b.nbytes for b in buffers]
    orders = (
        sorted(indices, key=lambda i: -sizes[i] * lengths[i]),
        sorted(indices, key=lambda i: (-lengths[i], -sizes[i])),
        sorted(indices, key=lambda i: -sizes[i]),
    )
    yield first_fit(buffers, sorted(indices, key=lambda i: (buffers[i].first, -sizes[i])), alignment)
    yield first_fit(buffers, sorted(indices, key=lambda i: (-buffers[i].last, -sizes[i])), alignment)
    searches = [_promoting(buffers, order, alignment, bound) for order in orders]
    for _ in range(ROUNDS):
        yield from map(next, searches)


def _promoting(buffers: Sequence[Buffer], order: list[int], alignment: int, bound: int) -> Iterator[ArenaPlan]:
    """Yield plans without end, each with what reached beyond the bound in the one before placed somewhat earlier."""
    for turn in count():
        plan = first_fit(buffers, order, alignment)
        yield plan
        rank = {i: place for place, i in enumerate(order)}
        for i, offset in enumerate(plan.offsets):
            if offset + buffers[i].nbytes > bound:
                rank[i] -= 1 + rank[i] // (2 + turn % 5)
        order = sorted(order, key=rank.__getitem__)
