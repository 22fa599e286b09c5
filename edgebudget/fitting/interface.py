"""A model on a device, and a change to it that is estimated anew."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from edgebudget.calibration.store import Calibrations
from edgebudget.estimation import MemoryEstimate, estimate
from edgebudget.graph import TracedGraph
from edgebudget.profiles.interface import DeviceProfile
from edgebudget.sources.interface import LoadedModel
from edgebudget.verdict import CheckResult, Decision, check, leading_dimension


@dataclass(frozen=True)
class Case:
    """One way to run a model on a device: what is traced, and under which option in which runtime.

    `changes` are the kinds of change made so far, and what each says to do.
    """

    model: str
    loaded: LoadedModel
    graph: TracedGraph
    device: DeviceProfile
    runtime: str
    dtype: str
    calibrations: Calibrations | None = None
    headroom_percent: float = 0.0
    changes: tuple[tuple[str, str], ...] = ()

    def estimate(self) -> MemoryEstimate:
        """Return what this case takes on its device. Pure."""
        return estimate(self.graph, dtype=self.dtype, runtime=self.runtime, target=self.device.target)

    def judge(self, made: MemoryEstimate) -> CheckResult:
        """Return the verdict on an estimate of this case."""
        return check(
            made,
            self.device,
            calibrations=self.calibrations,
            headroom_percent=self.headroom_percent,
            model=self.model,
            batch=leading_dimension(self.graph) if self.loaded.batch is None else self.loaded.batch,
        )

    def check(self) -> CheckResult:
        """Return the verdict on this case; raises EdgeBudgetError where it cannot be estimated."""
        return self.judge(self.estimate())

    def with_change(self, kind: str, what: str) -> "Case":
        return replace(self, changes=(*self.changes, (kind, what)))


@dataclass(frozen=True)
class Proposal:
    """`case` with its last change made, and the verdict on it."""

    case: Case
    result: CheckResult

    @property
    def fits(self) -> bool:
        return self.result.decision is Decision.GO

    @property
    def short_bytes(self) -> int | None:
        """By how many bytes it misses RAM or storage, whichever is worse; 0 where it fits, None where it cannot run."""
        result = self.result
        if result.peak_high_bytes is None or result.budget_bytes is None or result.storage_bytes is None:
            return None
        limit = result.storage_budget_bytes
        over = 0 if limit is None else result.storage_bytes - limit
        return max(result.peak_high_bytes - result.budget_bytes, over, 0)


class Proposer(Protocol):
    """One kind of change. Registered by its file's name."""

    @property
    def effort(self) -> int:
        """Where it stands among the others, the cheapest first."""
        ...

    def propose(self, case: Case) -> Iterator[Proposal]:
        """Yield changes of this kind to `case`, each estimated, none of which runs less than the model asked for.

        What cannot be estimated or would change nothing is left out.
        """
        ...
