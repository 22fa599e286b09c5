"""What a calibrated verdict would have said of each measured model. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from edgebudget.calibration.model import Interval
from edgebudget.validation.compare import PROCESS_FLOOR_BYTES


@dataclass(frozen=True, slots=True)
class Judged:
    """The measured peak of a process over the idle runtime, and the interval that was given for it.

    `lowest_bytes` and `highest_bytes` are the outermost of several processes of which `measured_bytes` is the median.
    """

    model: str
    machine: str
    runtime: str
    dtype: str
    lowest_bytes: int
    measured_bytes: int
    highest_bytes: int
    interval: Interval

    @property
    def error(self) -> float:
        """(estimated - measured) / measured."""
        return self.interval.peak_bytes / self.measured_bytes - 1

    @property
    def covered(self) -> bool:
        return self.interval.low_bytes <= self.lowest_bytes and self.highest_bytes <= self.interval.high_bytes

    @property
    def false_go(self) -> bool:
        """Whether some budget would have been called enough that was not: a process's peak lies above it."""
        return self.highest_bytes > self.interval.high_bytes


@dataclass(frozen=True, slots=True)
class Verdicts:
    """How the intervals of one runtime and dtype did over a set of models.

    `median`, `p95` and `worst` are of processes of PROCESS_FLOOR_BYTES and more, where there are any: a relative error
    of less has no meaning.
    """

    machine: str
    runtime: str
    dtype: str
    count: int
    median: float
    p95: float
    worst: float
    covered: int
    false_go: int


def summarize_verdicts(judged: Sequence[Judged]) -> tuple[Verdicts, ...]:
    """Return errors, coverage and false GO by machine, runtime and dtype, in the order they first appear."""
    groups: dict[tuple[str, str, str], list[Judged]] = {}
    for one in judged:
        groups.setdefault((one.machine, one.runtime, one.dtype), []).append(one)
    return tuple(_verdicts(key, group) for key, group in groups.items())


def _verdicts(key: tuple[str, str, str], group: Sequence[Judged]) -> Verdicts:
    of_size = [one for one in group if one.measured_bytes >= PROCESS_FLOOR_BYTES]
    errors = sorted(abs(one.error) for one in of_size or group)
    return Verdicts(
        *key,
        count=len(group),
        median=median(errors),
        p95=errors[-(-95 * len(errors) // 100) - 1],
        worst=errors[-1],
        covered=sum(one.covered for one in group),
        false_go=sum(one.false_go for one in group),
    )
