"""Another runtime, in the same dtype option."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from edgebudget.errors import EdgeBudgetError
from edgebudget.fitting.interface import Case, Proposal
from edgebudget.runtimes import RUNTIMES
from edgebudget.verdict import Decision


@dataclass(frozen=True, slots=True)
class _Runtime:
    effort: int = 4

    def propose(self, case: Case) -> Iterator[Proposal]:
        """Yield the runtimes that the device's profile names; all of them where it names none."""
        named = [name for name in RUNTIMES.names() if name in case.device.runtimes] or RUNTIMES.names()
        for name in named:
            changed = replace(case, runtime=name).with_change("runtime", f"Run it in {name}.")
            try:
                result = changed.check() if name != case.runtime else None
            except EdgeBudgetError:
                continue
            if result is not None and result.decision is not Decision.UNSUPPORTED:
                yield Proposal(changed, result)


PROPOSER = _Runtime()
