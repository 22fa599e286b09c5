"""From a model and a device to proposals: the cheapest changes first, and together where none alone is enough."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgebudget.errors import EdgeBudgetError
from edgebudget.fitting import PROPOSERS
from edgebudget.fitting.interface import Case, Proposal
from edgebudget.fitting.resolution import Limit, largest

ROUNDS = 3
"""Changes to put together at most: beyond three it is another model."""


@dataclass(frozen=True)
class Advice:
    """What was asked, every proposal in the order to consider them, and the largest input where all fits as it is."""

    asked: Proposal
    proposals: tuple[Proposal, ...]
    limit: Limit | None = None

    @property
    def fits(self) -> bool:
        return self.asked.fits or any(proposal.fits for proposal in self.proposals)

    @property
    def best(self) -> Proposal | None:
        """The first that fits, else the one that fails by the fewest bytes; None where nothing could be estimated."""
        candidates = (self.asked, *self.proposals)
        fitting = next((proposal for proposal in candidates if proposal.fits), None)
        return fitting or min(
            (proposal for proposal in candidates if proposal.short_bytes is not None),
            key=lambda proposal: proposal.short_bytes or 0,
            default=None,
        )


def advise(case: Case) -> Advice:
    """Return what would make `case` fit. Where it fits as it is, the largest input that still does.

    Every kind of change alone; where none of them fits, the changes that can be made beside the one that comes
    nearest, and so on for `ROUNDS` rounds. Raises EdgeBudgetError where the case itself cannot be estimated.
    """
    asked = Proposal(case, case.check())
    if asked.fits:
        return Advice(asked, (), largest(case))
    proposals: list[Proposal] = []
    nearest: Proposal | None = asked
    for _ in range(ROUNDS):
        if nearest is None or any(proposal.fits for proposal in proposals):
            break
        found = _changes(nearest.case)
        proposals += found
        nearest = _nearest(found)
    return Advice(asked, tuple(sorted(proposals, key=lambda proposal: not proposal.fits)))


def _changes(case: Case) -> list[Proposal]:
    made = {kind for kind, _ in case.changes}
    found: list[Proposal] = []
    for kind, proposer in sorted(PROPOSERS, key=lambda entry: entry[1].effort):
        if kind in made:
            continue
        try:
            found.extend(proposer.propose(case))
        except EdgeBudgetError:  # what cannot be estimated is no proposal
            continue
    return found


def _nearest(proposals: Sequence[Proposal]) -> Proposal | None:
    known = [proposal for proposal in proposals if proposal.short_bytes is not None]
    return min(known, key=lambda proposal: proposal.short_bytes or 0, default=None)
