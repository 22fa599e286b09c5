"""The same operators in another order."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from edgebudget.fitting._reorder import reordered
from edgebudget.fitting.interface import Case, Proposal


@dataclass(frozen=True, slots=True)
class _Order:
    effort: int = 6

    def propose(self, case: Case) -> Iterator[Proposal]:
        """Yield the model with its branches run in the order that keeps least alive, where that lowers the peak."""
        graph = reordered(case.graph)
        if graph is None:
            return
        before = case.check().peak_high_bytes
        changed = replace(case, graph=graph).with_change(
            "order", "Run its branches in the order that keeps least alive."
        )
        result = changed.check()
        if before is not None and result.peak_high_bytes is not None and result.peak_high_bytes < before:
            yield Proposal(changed, result)


PROPOSER = _Order()
