"""One model's estimate beside what was measured: what fits are made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgebudget.calibration.model import FLOOR_BYTES


@dataclass(frozen=True, slots=True)
class Pair:
    """One model: the parts of its estimate by phase, and the process's peak in each phase over the idle runtime.

    Both hold the phases that were measured: inference, and most often loading. `peaks_bytes` are the peaks of all
    processes of which `measured_bytes` are the medians; empty where there was one. `built_on` says that the model of
    the runtime was developed with this very measurement at hand, so that its error is no witness for new models.
    `least_parts` and `most_parts` are the estimate of the processes that keep least and most, empty where it is one.
    """

    model: str
    family: str
    parts: Mapping[str, Mapping[str, int]]
    measured_bytes: Mapping[str, int]
    peaks_bytes: tuple[int, ...] = ()
    built_on: bool = False
    least_parts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    most_parts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def measured_peak_bytes(self) -> int:
        return max(self.measured_bytes.values())

    def predict(self, coefficients: Mapping[str, Mapping[str, float]]) -> float:
        """Return the peak over the measured phases that `coefficients` give, in bytes, at least one."""
        return _peak(self.parts, coefficients)

    def ratios(self, coefficients: Mapping[str, Mapping[str, float]]) -> tuple[float, float]:
        """Return the lowest measured over the least predicted peak, and the highest over the largest, each from
        FLOOR_BYTES below nothing."""
        peaks = self.peaks_bytes or (self.measured_peak_bytes,)
        least = _peak(self.least_parts or self.parts, coefficients) + FLOOR_BYTES
        most = _peak(self.most_parts or self.parts, coefficients) + FLOOR_BYTES
        return (min(peaks) + FLOOR_BYTES) / least, (max(peaks) + FLOOR_BYTES) / most


def _peak(parts: Mapping[str, Mapping[str, int]], coefficients: Mapping[str, Mapping[str, float]]) -> float:
    peaks = [sum(coefficients[p][part] * b for part, b in of_phase.items()) for p, of_phase in parts.items()]
    return max(1.0, *peaks)
