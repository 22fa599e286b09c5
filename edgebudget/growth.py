"""How much more memory options take than they did in an earlier report. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from edgebudget.labels import LABELS
from edgebudget.units import format_bytes, format_signed_bytes
from edgebudget.verdict import CheckResult

DEFAULT_MAX_PERCENT = 5.0

FIGURES = ("peak_bytes", "storage_bytes")
"""What is held against the baseline: the memory and the file."""

PARTS = ("parameter_bytes", "buffer_bytes", "activation_bytes", "workspace_bytes", "runtime_bytes")
"""What can have made a peak grow, and is told beside it."""


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of one option that is not what it was; `parts` are those that differ, by how many bytes."""

    model: str
    device: str
    runtime: str
    dtype: str
    figure: str
    was_bytes: int
    now_bytes: int
    parts: tuple[tuple[str, int], ...]

    def beyond(self, percent: float) -> bool:
        """Whether it grew by more than `percent` of what it was, in whole bytes."""
        return 100 * (self.now_bytes - self.was_bytes) > Fraction(str(percent)) * self.was_bytes

    def __str__(self) -> str:
        grown_bytes = self.now_bytes - self.was_bytes
        share = f"{100 * grown_bytes / self.was_bytes:+.2f} %, " if self.was_bytes else ""
        why = "; ".join(f"{LABELS[part]} {format_signed_bytes(nbytes)}" for part, nbytes in self.parts)
        return (
            f"{self.model} on {self.device}, {self.runtime}, {self.dtype}: {LABELS[self.figure]} "
            f"{format_bytes(self.was_bytes)} -> {format_bytes(self.now_bytes)} ({share}{grown_bytes:+,} bytes)"
            f"{f': {why}' if why else ''}."
        )


@dataclass(frozen=True)
class Growth:
    """What differs from the report `baseline`; beyond `max_percent` it is too much.

    `compared` are the (model, device) pairs of which some option stands in both reports, `notes` what else a reader
    has to know: options without a counterpart, another version of this tool, other inputs.
    """

    baseline: str
    max_percent: float
    changes: tuple[Change, ...]
    compared: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]

    @property
    def too_much(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.beyond(self.max_percent))

    @property
    def headline(self) -> str:
        limit = f"{self.max_percent:g} %"
        if not self.compared:
            return f"Nothing to compare: no option asked for stands in {self.baseline}."
        if self.too_much:
            figures = "1 figure" if len(self.too_much) == 1 else f"{len(self.too_much)} figures"
            return f"{figures} grew by more than {limit} since {self.baseline}."
        return f"Nothing grew by more than {limit} since {self.baseline}."

    def for_device(self, device: str) -> "Growth":
        """Return the part that concerns `device`."""
        return replace(
            self,
            changes=tuple(change for change in self.changes if change.device == device),
            compared=tuple(pair for pair in self.compared if pair[1] == device),
        )


def grown(
    baseline: str,
    was: Sequence[CheckResult],
    now: Sequence[CheckResult],
    max_percent: float = DEFAULT_MAX_PERCENT,
    notes: tuple[str, ...] = (),
) -> Growth:
    """Return what differs between two sets of options, the largest growth first. An option without a figure on either
    side has no growth: its decision says why."""
    before = {_key(option): option for option in was}
    both = [(before[_key(option)], option) for option in now if _key(option) in before]
    changes = [change for old, new in both for change in _changes(old, new)]
    new = sum(_key(option) not in before for option in now)
    others = [f"{new} of {len(now)} options do not stand in {baseline}."] if new and both else []
    others += [
        f"{new.model} takes other inputs than in {baseline}: {', '.join(new.inputs)}, not {', '.join(old.inputs)}."
        for old, new in both
        if old.inputs != new.inputs
    ]
    others += [
        f"The peaks of {new.runtime}, {new.dtype} are not calibrated as in {baseline}."
        for old, new in both
        if old.calibration != new.calibration
    ]
    return Growth(
        baseline=baseline,
        max_percent=max_percent,
        changes=tuple(sorted(changes, key=lambda change: change.was_bytes - change.now_bytes)),
        compared=tuple(dict.fromkeys((new.model, new.device) for _, new in both)),
        notes=(*notes, *dict.fromkeys(others)),
    )


def _changes(old: CheckResult, new: CheckResult) -> list[Change]:
    changes = []
    for figure in FIGURES:
        was, now = getattr(old, figure), getattr(new, figure)
        if was is not None and now is not None and was != now:
            changes.append(Change(*_key(new), figure, was, now, _parts(old, new) if figure == "peak_bytes" else ()))
    return changes


def _parts(old: CheckResult, new: CheckResult) -> tuple[tuple[str, int], ...]:
    differences = [(part, (getattr(new, part) or 0) - (getattr(old, part) or 0)) for part in PARTS]
    return tuple((part, nbytes) for part, nbytes in differences if nbytes)


def _key(option: CheckResult) -> tuple[str, str, str, str]:
    return option.model, option.device, option.runtime, option.dtype
