"""A smaller batch."""

from collections.abc import Iterator
from dataclasses import dataclass

from edgebudget.errors import EdgeBudgetError
from edgebudget.fitting._traces import trace_again, with_leading
from edgebudget.fitting.interface import Case, Proposal
from edgebudget.verdict import leading_dimension


@dataclass(frozen=True, slots=True)
class _Batch:
    effort: int = 2

    def propose(self, case: Case) -> Iterator[Proposal]:
        """Yield the largest batch that fits, or 1; nothing where the batch is 1 already."""
        batch = leading_dimension(case.graph) if case.loaded.batch is None else case.loaded.batch
        best: Proposal | None = None
        while batch > 1:
            batch //= 2
            try:
                smaller = trace_again(case, with_leading(case, batch))
            except EdgeBudgetError:
                return
            changed = smaller.with_change("batch", f"Run a batch of {batch} at a time.")
            best = Proposal(changed, changed.check())
            if best.fits:
                break
        if best is not None:
            yield best


PROPOSER = _Batch()
