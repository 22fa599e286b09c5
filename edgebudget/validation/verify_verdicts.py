"""Asks a board's kernel about verdicts: `python -m edgebudget.validation.verify_verdicts FOLDER ARTEFACTS [PART]`.

Each model runs on an emulated board with the RAM of a real one, of which so much is taken away that what is left lies
just above, within and just below the predicted interval. Can be stopped and started again: what FOLDER holds is not
asked again.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from edgebudget.calibration.recorded import LeavingOut
from edgebudget.calibration.store import Calibrations
from edgebudget.errors import MeasurementError
from edgebudget.estimation import MemoryEstimate, estimate
from edgebudget.evidence import family_of, recorded_measurements, traced
from edgebudget.measure import BACKENDS
from edgebudget.measure.boards.emulated import EmulatedBoard
from edgebudget.measure.boards.machine import Hardware, JobTimeoutError
from edgebudget.measure.interface import Failure, Subject
from edgebudget.measure.kept import KeptArtefacts
from edgebudget.measure.preparation import Prepared
from edgebudget.measure.suite import PARTS
from edgebudget.profiles import load_profile
from edgebudget.profiles.interface import DeviceProfile
from edgebudget.runtimes.interface import Unsupported
from edgebudget.validation.board_cases import Case, Verified, boards_of, confusion_table, parse_cases, to_json_line
from edgebudget.validation.board_questions import QUESTIONS, UNMEASURED, Of, Part, Question
from edgebudget.verdict import check, kept_bytes

CASE_SECONDS = 300.0


def with_budget(profile: DeviceProfile, budget_bytes: int) -> DeviceProfile:
    """Return the device as if all of `budget_bytes` were available to the model and nothing more."""
    memory = replace(
        profile.memory, idle_available_bytes=budget_bytes, process_limit_bytes=None, safety_margin_percent=0.0
    )
    return replace(profile, memory=memory)


def verified(cases: Sequence[Case], calibrations: Callable[[str], Calibrations]) -> tuple[Verified, ...]:
    """Return each case with what a check of today says of it by the fits that its model's family may be judged by."""
    profiles = {name: load_profile(name) for name in {case.profile for case in cases}}
    estimates: dict[tuple[str, str, str], MemoryEstimate] = {}
    found = []
    for case in cases:
        key = (case.model, case.dtype, case.runtime)
        if key not in estimates:
            graph = traced(case.model, case.inputs)
            estimates[key] = estimate(graph, dtype=case.dtype, runtime=case.runtime)
        device = with_budget(profiles[case.profile], case.available_bytes)
        known = calibrations(UNMEASURED.get(case.model) or family_of(case.model))
        found.append(Verified(case, check(estimates[key], device, calibrations=known).decision))
    return tuple(found)


def cases_file(folder: Path, part: Part) -> Path:
    """Return where `folder` holds the cases of a part."""
    return folder / f"verdicts_{part}.jsonl"


def run(questions: Iterable[Question], path: Path, artefacts: Path) -> Iterator[Case]:
    """Ask what `path` does not hold yet, append a line to it after each, and yield the cases."""
    held = parse_cases(path.read_text(encoding="utf-8"), str(path)) if path.exists() else ()
    done = {Question(c.profile, Subject(c.model, c.inputs, c.runtime, c.dtype), c.of, c.factor) for c in held}
    left = [question for question in questions if question not in done]
    path.parent.mkdir(parents=True, exist_ok=True)
    for name, asked in groupby(left, key=lambda question: question.profile):
        profile = load_profile(name)
        hardware = Hardware(profile.cpu.cores[0], profile.memory.ram_bytes)
        with ExitStack() as stack:
            kept = stack.enter_context(KeptArtefacts(artefacts))
            board = stack.enter_context(EmulatedBoard(hardware, print))
            for question in asked:
                prepared = kept.prepared(question.subject)
                if isinstance(prepared, Failure):
                    print(f"{question.subject.model}: {prepared.reason}")
                    continue
                try:
                    case = _asked(question, profile, prepared, board)
                except MeasurementError as error:
                    print(f"{question.subject.model}: {error}")
                    continue
                with path.open("a", encoding="utf-8") as file:
                    file.write(to_json_line(case) + "\n")
                yield case


def _sizes(made: MemoryEstimate, profile: DeviceProfile) -> Mapping[Of, int]:
    assert not isinstance(made.layout, Unsupported)
    result = check(made, profile)
    assert result.peak_low_bytes is not None
    assert result.peak_high_bytes is not None
    return {
        "peak": made.raw_peak_bytes,
        "kept": kept_bytes(made.layout),
        "low": result.peak_low_bytes,
        "high": result.peak_high_bytes,
    }


def _asked(question: Question, profile: DeviceProfile, prepared: Prepared, board: EmulatedBoard) -> Case:
    subject = question.subject
    backend = BACKENDS.get(subject.backend)
    graph = traced(subject.model, subject.inputs)
    made = estimate(graph, dtype=subject.dtype, runtime=subject.backend, target=profile.target)
    wanted_bytes = int(_sizes(made, profile)[question.of] * question.factor)
    board.switched_on()
    where = board.provenance(backend)
    available_bytes, code, killed, seconds, faults, refaulted = wanted_bytes, 0, False, CASE_SECONDS, 0, 0
    timed_out = False
    try:
        outcome = board.run(backend, prepared, wanted_bytes, CASE_SECONDS)
    except JobTimeoutError:
        timed_out = True
    else:
        code, killed, seconds = outcome.code, outcome.killed_for_memory, outcome.seconds
        faults, refaulted = outcome.major_faults, outcome.refaulted_pages * 4096
        first = outcome.stderr.partition("\n")[0]
        if not first.startswith("available_bytes: "):
            raise MeasurementError(f"The board could not be brought down to {wanted_bytes} bytes: {first}")
        available_bytes = int(first.removeprefix("available_bytes: "))
        if code != 0 and not killed:
            raise MeasurementError(f"The run ended with {code}: {outcome.stderr[-300:]}")
    return Case(
        model=subject.model, inputs=subject.inputs, runtime=subject.backend, dtype=subject.dtype,
        profile=question.profile, core=board.board.core, ram_bytes=board.board.ram_bytes,
        of=question.of, factor=question.factor,
        available_bytes=available_bytes, exit_code=code, killed_for_memory=killed, timed_out=timed_out,
        seconds=round(seconds, 1), major_faults=faults, refaulted_bytes=refaulted, measured_at=where.measured_at,
        kernel=where.kernel, emulator=board.board.emulator or "", versions=dict(where.versions),
    )  # fmt: skip


def main(folder: str, artefacts: str, *parts: Part) -> None:
    """Ask all that is left of `parts`, by default of every one, a line on stdout each, and print the table of each."""
    calibrations = LeavingOut(recorded_measurements(*PARTS))
    for part in parts or tuple(QUESTIONS):
        path = cases_file(Path(folder), part)
        for case in run(QUESTIONS[part], path, Path(artefacts)):
            asked = f"{case.core} {case.model} {case.dtype}, {case.factor} of {case.of}"
            print(f"{asked}: {case.available_bytes:,} bytes available, {case.ending}", flush=True)
        cases = parse_cases(path.read_text(encoding="utf-8"), str(path))
        print(f"{part}, {len(cases)} cases: {boards_of(cases)}\n\n{confusion_table(verified(cases, calibrations))}")


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]  # an unknown part is a KeyError: this is for who keeps the data
