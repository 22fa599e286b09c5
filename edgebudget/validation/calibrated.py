"""What a calibrated verdict would have said of each measured model. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist, median

from edgebudget.calibration.model import Interval
from edgebudget.validation.compare import PROCESS_FLOOR_BYTES, percentile_95


@dataclass(frozen=True, slots=True)
class Judged:
    """The measured peak of a process over the idle runtime, and the interval that was given for it.

    `lowest_bytes` and `highest_bytes` are the outermost of several processes of which `measured_bytes` is the median;
    `raw_bytes` is the peak before calibration.
    """

    model: str
    machine: str
    runtime: str
    dtype: str
    lowest_bytes: int
    measured_bytes: int
    highest_bytes: int
    interval: Interval
    raw_bytes: int

    @property
    def error(self) -> float:
        """(estimated - measured) / measured."""
        return self.interval.peak_bytes / self.measured_bytes - 1

    @property
    def raw_error(self) -> float:
        """The same before calibration."""
        return self.raw_bytes / self.measured_bytes - 1

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

    `median`, `p95` and `worst`, and the raw ones before calibration, are of processes of PROCESS_FLOOR_BYTES and more,
    where there are any: a relative error of less has no meaning.
    """

    machine: str
    runtime: str
    dtype: str
    count: int
    raw_median: float
    raw_p95: float
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
    raw = sorted(abs(one.raw_error) for one in of_size or group)
    return Verdicts(
        *key,
        count=len(group),
        raw_median=median(raw),
        raw_p95=percentile_95(raw),
        median=median(errors),
        p95=percentile_95(errors),
        worst=errors[-1],
        covered=sum(one.covered for one in group),
        false_go=sum(one.false_go for one in group),
    )


@dataclass(frozen=True, slots=True)
class Pooled:
    """How many intervals held over all runtimes and dtypes of a machine; `low` and `high` are what `likely` says."""

    machine: str
    count: int
    covered: int
    low: float
    high: float
    false_go: int


EVERYWHERE = "all"


def pool(judged: Sequence[Judged]) -> tuple[Pooled, ...]:
    """Return what held by machine, in the order they first appear, and of all together."""
    machines = dict.fromkeys(one.machine for one in judged)
    groups = {machine: [one for one in judged if one.machine == machine] for machine in machines}
    if len(groups) > 1:
        groups[EVERYWHERE] = list(judged)
    return tuple(_pooled(machine, group) for machine, group in groups.items())


def _pooled(machine: str, group: Sequence[Judged]) -> Pooled:
    covered = sum(one.covered for one in group)
    low, high = likely(covered, len(group))
    return Pooled(machine, len(group), covered, low, high, sum(one.false_go for one in group))


def likely(hits: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """Return the binomial interval (Wilson's) of the share that `hits` of `count` independent trials come from."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, weight = hits / count, z * z / count
    middle = (share + weight / 2) / (1 + weight)
    reach = z * sqrt(share * (1 - share) / count + weight / count / 4) / (1 + weight)
    return max(0.0, middle - reach), min(1.0, middle + reach)
