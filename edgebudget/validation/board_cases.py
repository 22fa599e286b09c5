"""What a board's own kernel said of a model under a budget, beside what a check says of it. Pure."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from edgebudget.errors import CalibrationError
from edgebudget.validation.board_questions import Of
from edgebudget.verdict import Decision

Ending = Literal["finished", "slowed", "killed"]
ENDINGS: tuple[Ending, ...] = ("finished", "slowed", "killed")
DECISIONS = (Decision.GO, Decision.MARGINAL, Decision.NO_GO)

THRASHED_BYTES = 2 << 20
"""Pages that were in memory, were given up for want of it, and were read again: more than this is `slowed`. With RAM to
spare a run reads 0.2 to 1 MB twice, since the board's caches are emptied before it; short of RAM 4 MB and more."""


@dataclass(frozen=True, slots=True)
class Case:
    """One model on one board with so much RAM available, and how that ended.

    `profile` is the device whose core and RAM the board has. `factor` is the share that was meant to be available, of
    one of the model's sizes (`board_questions.Of`); `available_bytes` what the kernel said was (`MemAvailable`) before
    the process started.
    """

    model: str
    inputs: tuple[str, ...]
    runtime: str
    dtype: str
    profile: str
    core: str
    ram_bytes: int
    of: Of
    factor: float
    available_bytes: int
    exit_code: int
    killed_for_memory: bool
    timed_out: bool
    seconds: float
    major_faults: int
    refaulted_bytes: int
    measured_at: str
    kernel: str
    emulator: str
    versions: dict[str, str]

    @property
    def ending(self) -> Ending:
        """Whether the run finished, finished by reading again what it had to give up, or was killed."""
        if self.killed_for_memory:
            return "killed"
        return "slowed" if self.timed_out or self.refaulted_bytes > THRASHED_BYTES else "finished"


@dataclass(frozen=True, slots=True)
class Verified:
    """A case and what a check says today of that model on that board with that budget."""

    case: Case
    decision: Decision


def to_json_line(case: Case) -> str:
    """Return one line, without its end."""
    return json.dumps(asdict(case), separators=(",", ":"))


def parse_cases(text: str, where: str) -> tuple[Case, ...]:
    """Return the cases in `text`, one a line; raises CalibrationError that starts with `where` and the line."""
    cases = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            record = json.loads(line)
            cases.append(Case(**{**record, "inputs": tuple(record["inputs"])}))
        except (ValueError, TypeError, KeyError) as error:
            raise CalibrationError(
                f"{where}:{number}: not a case of this version ({error}).", "Delete the line, or run it again."
            ) from None
    return tuple(cases)


def confusion_table(verified: Sequence[Verified]) -> str:
    """Return a row for each decision: how many of its cases ended in each way."""
    lines = ["| a check said | cases | finished | slowed | killed |", "|---|--:|--:|--:|--:|"]
    for decision in DECISIONS:
        endings = [one.case.ending for one in verified if one.decision is decision]
        counts = " | ".join(str(endings.count(ending)) for ending in ENDINGS)
        lines.append(f"| {decision} | {len(endings)} | {counts} |")
    return "\n".join(lines) + "\n"


def boards_of(cases: Iterable[Case]) -> str:
    """Return the boards in words: core and RAM, with how many cases each has."""
    counts: dict[tuple[str, int], int] = {}
    for case in cases:
        counts[case.core, case.ram_bytes] = counts.get((case.core, case.ram_bytes), 0) + 1
    return ", ".join(f"{n} on {core} with {ram >> 20} MiB" for (core, ram), n in sorted(counts.items()))
