"""The smallest plan that several orders and a search between them find."""

from collections.abc import Iterator, Sequence

from edgebudget.planning.executorch_greedy import executorch_greedy
from edgebudget.planning.greedy import first_fit, greedy_by_size
from edgebudget.planning.interface import ArenaPlan, Buffer
from edgebudget.planning.lifetimes import lower_bound

ROUNDS = 200
LARGEST = 5_000  # buffers: beyond it the first plan is taken, since each other takes as long again


def best_plan(buffers: Sequence[Buffer], alignment: int = 1) -> ArenaPlan:
    """Return the smallest of: greedy by size, ExecuTorch's greedy, first fit in other orders, and a search from there.

    The search places first what stood too high in the last plan, for `ROUNDS` plans. It ends as soon as a plan takes no
    more than the lower bound. Never above greedy by size; never above ExecuTorch's up to `LARGEST` buffers.
    """
    best = greedy_by_size(buffers, alignment)
    if len(buffers) > LARGEST:
        return best
    bound = lower_bound([b._replace(nbytes=-(-b.nbytes // alignment) * alignment) for b in buffers])
    for plan in _plans(buffers, alignment, bound):
        if best.nbytes <= bound:
            break
        best = min(best, plan, key=lambda plan: plan.nbytes)
    return best


def _plans(buffers: Sequence[Buffer], alignment: int, bound: int) -> Iterator[ArenaPlan]:
    yield executorch_greedy(buffers, alignment)
    indices = range(len(buffers))
    lengths = [b.last - b.first + 1 for b in buffers]
    sizes = [b.nbytes for b in buffers]
    orders = (
        sorted(indices, key=lambda i: -sizes[i] * lengths[i]),
        sorted(indices, key=lambda i: (-lengths[i], -sizes[i])),
        sorted(indices, key=lambda i: (buffers[i].first, -sizes[i])),
        sorted(indices, key=lambda i: (-buffers[i].last, -sizes[i])),
    )
    for order in orders:
        yield first_fit(buffers, order, alignment)
    for order in orders[:2]:
        yield from _promoting(buffers, list(order), alignment, bound)


def _promoting(buffers: Sequence[Buffer], order: list[int], alignment: int, bound: int) -> Iterator[ArenaPlan]:
    """Yield plans, each with what reached beyond the bound in the one before placed somewhat earlier."""
    for turn in range(ROUNDS // 2):
        plan = first_fit(buffers, order, alignment)
        yield plan
        rank = {i: place for place, i in enumerate(order)}
        for i, offset in enumerate(plan.offsets):
            if offset + buffers[i].nbytes > bound:
                rank[i] -= 1 + rank[i] // (2 + turn % 5)
        order = sorted(order, key=rank.__getitem__)
