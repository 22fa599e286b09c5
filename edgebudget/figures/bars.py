"""Bars of the parts of a peak against the budget, as shares of one scale. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgebudget.figures.parts import peak_parts
from edgebudget.units import BINARY
from edgebudget.verdict import CheckResult

_FAR = 4  # times the largest peak: a budget beyond that would leave the bars too short to read
_TICKS = 4
_ROOM, _BREAK_ROOM = 1.06, 1.15  # right of the longest bar; with a break in the axis

# The same part has the same colour in every bar.
_STYLES = {
    "weights": "part-0",
    "weights and copies while loading": "part-0",
    "activations": "part-1",
    "workspace": "part-2",
    "mapped file": "part-3",
    "runtime": "part-4",
}


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar: `percent` of the scale wide, named by `word`, in the colour of `style`."""

    style: str
    word: str
    nbytes: int
    percent: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One option: its parts, and its interval from `low_percent` to `high_percent` with the peak between.

    `share` says how much of the budget the high end takes.
    """

    option: CheckResult
    segments: tuple[Segment, ...]
    low_percent: float
    peak_percent: float
    high_percent: float
    share: str


@dataclass(frozen=True, slots=True)
class BarChart:
    """Bars on one scale. Where the budget lies too far off for it, its line stands behind a break in the axis."""

    bars: tuple[Bar, ...]
    budget_bytes: int
    budget_percent: float
    is_broken: bool
    ticks: tuple[tuple[float, str], ...]

    @property
    def legend(self) -> tuple[Segment, ...]:
        """One segment for each part in any bar, in their order."""
        return tuple({segment.style: segment for bar in self.bars for segment in bar.segments}.values())


def bar_chart(options: Sequence[CheckResult]) -> BarChart | None:
    """Return the bars of those of `options`, of one device, that have numbers; None where none has."""
    sized = [(o, ends) for o in options if (ends := _interval(o)) is not None]
    budget_bytes = next((o.budget_bytes for o, _ in sized if o.budget_bytes is not None), None)
    if budget_bytes is None:
        return None
    largest_bytes = max(max(high_bytes, o.raw_peak_bytes or 0) for o, (_, _, high_bytes) in sized)
    far = budget_bytes > _FAR * largest_bytes
    scale_bytes = largest_bytes * _BREAK_ROOM if far else max(largest_bytes, budget_bytes, 1) * _ROOM
    bars = []
    for option, ends in sized:
        low, peak, high = (100 * nbytes / scale_bytes for nbytes in ends)
        segments = tuple(
            Segment(_STYLES[word], word, nbytes, 100 * nbytes / scale_bytes)
            for word, nbytes in peak_parts(option)
            if nbytes > 0
        )
        bars.append(Bar(option, segments, low, peak, high, _share(ends[2], budget_bytes)))
    budget_percent = 100.0 if far else 100 * budget_bytes / scale_bytes
    ticks = _ticks(scale_bytes, largest_bytes if far else scale_bytes)
    return BarChart(tuple(bars), budget_bytes, budget_percent, far, ticks)


def _interval(option: CheckResult) -> tuple[int, int, int] | None:
    low, peak, high = option.peak_low_bytes, option.peak_bytes, option.peak_high_bytes
    return None if low is None or peak is None or high is None else (low, peak, high)


def _share(nbytes: int, budget_bytes: int) -> str:
    if nbytes > 10 * budget_bytes:
        return "more than ten times"
    percent = 100 * nbytes / budget_bytes
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.1f} %"


def _ticks(scale_bytes: float, end_bytes: float) -> tuple[tuple[float, str], ...]:
    """Return where round sizes stand, as percent of the scale, up to `end_bytes`: powers of two apart, so that they are
    round in KiB and MiB."""
    step = 1
    while step * _TICKS < scale_bytes:
        step *= 2
    return tuple((100 * n / scale_bytes, _round_size(n)) for n in range(0, int(end_bytes) + 1, step))


def _round_size(nbytes: int) -> str:
    unit, factor = max(((u, f) for u, f in BINARY.items() if f <= max(nbytes, 1)), key=lambda pair: pair[1])
    return f"{nbytes / factor:g} {unit}" if nbytes else "0"
