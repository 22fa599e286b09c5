"""Asks a board's kernel about verdicts: `python -m edgebudget.validation.verify_verdicts FILE ARTEFACTS`.

Each model runs on an emulated board with the RAM of a real one, of which so much is taken away that what is left lies
above, at and below the predicted peak. Can be stopped and started again: what FILE holds is not run again.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from edgebudget.calibration.store import Calibrations, shipped
from edgebudget.errors import MeasurementError
from edgebudget.estimation import MemoryEstimate, estimate
from edgebudget.evidence import traced
from edgebudget.measure import BACKENDS
from edgebudget.measure.boards.emulated import EmulatedBoard
from edgebudget.measure.boards.machine import Hardware, JobTimeoutError
from edgebudget.measure.interface import Failure, Subject
from edgebudget.measure.kept import KeptArtefacts
from edgebudget.measure.preparation import Prepared
from edgebudget.measure.suite import SUITE
from edgebudget.profiles import load_profile
from edgebudget.profiles.interface import DeviceProfile
from edgebudget.runtimes.interface import Unsupported
from edgebudget.validation.board_cases import Case, Verified, boards_of, confusion_table, parse_cases, to_json_line
from edgebudget.verdict import check, kept_bytes

BUDGETS: tuple[tuple[Literal["peak", "kept"], float], ...] = (("peak", 1.3), ("kept", 0.88), ("peak", 1.0))
"""What is made available: the raw peak and a margin, less than what has to stay in RAM, and just the peak."""
CASE_SECONDS = 300.0

_BOARDS = {
    "raspberrypi-zero-2-w": "mobilenet_v2 mobilenet_v2:int8 resnet18:int8 timm:mobilenetv4_conv_small"
    " mobilenet_v3_small timm:lcnet_050 edgebudget.measure.zoo:lstm_cells",
    "raspberrypi-4b-1gb": "timm:efficientnet_lite0 mnasnet0_5 timm:tinynet_e mobilenet_v3_large squeezenet1_1"
    " timm:fbnetc_100 resnet18",
    "raspberrypi-4b-2gb": "shufflenet_v2_x0_5 timm:mobilenetv2_050 timm:hardcorenas_a lraspp_mobilenet_v3_large"
    " timm:efficientnet_lite0:int8 mobilenet_v3_large:int8 resnet18:int8",
}
RUNTIME = "executorch-xnnpack"


@dataclass(frozen=True, slots=True)
class Question:
    """A model in a dtype on the board of a profile, with a share of its raw peak available."""

    profile: str
    subject: Subject
    of: Literal["peak", "kept"]
    factor: float


def questions() -> Iterator[Question]:
    """Yield every question, the two that a verdict must not get wrong of every model first."""
    inputs = {entry.model: entry.inputs for entry in SUITE}
    for budgets in (BUDGETS[:2], BUDGETS[2:]):
        for profile, names in _BOARDS.items():
            for name in names.split():
                model, dtype = (name.removesuffix(":int8"), "int8") if name.endswith(":int8") else (name, "float32")
                for of, factor in budgets:
                    yield Question(profile, Subject(model, inputs[model], RUNTIME, dtype), of, factor)


def with_budget(profile: DeviceProfile, budget_bytes: int) -> DeviceProfile:
    """Return the device as if all of `budget_bytes` were available to the model and nothing more."""
    memory = replace(
        profile.memory, idle_available_bytes=budget_bytes, process_limit_bytes=None, safety_margin_percent=0.0
    )
    return replace(profile, memory=memory)


def verified(cases: Sequence[Case], calibrations: Calibrations | None = None) -> tuple[Verified, ...]:
    """Return each case with what a check of today says of it."""
    known = calibrations or shipped()
    profiles = {name: load_profile(name) for name in {case.profile for case in cases}}
    estimates: dict[tuple[str, str, str], MemoryEstimate] = {}
    found = []
    for case in cases:
        key = (case.model, case.dtype, case.runtime)
        if key not in estimates:
            graph = traced(case.model, case.inputs)
            estimates[key] = estimate(graph, dtype=case.dtype, runtime=case.runtime)
        device = with_budget(profiles[case.profile], case.available_bytes)
        found.append(Verified(case, check(estimates[key], device, calibrations=known).decision))
    return tuple(found)


def run(path: Path, artefacts: Path) -> Iterator[Case]:
    """Run what `path` does not hold yet, append a line to it after each, and yield the cases."""
    held = parse_cases(path.read_text(encoding="utf-8"), str(path)) if path.exists() else ()
    done = {Question(c.profile, Subject(c.model, c.inputs, c.runtime, c.dtype), c.of, c.factor) for c in held}
    left = [question for question in questions() if question not in done]
    path.parent.mkdir(parents=True, exist_ok=True)
    for name in dict.fromkeys(question.profile for question in left):
        profile = load_profile(name)
        hardware = Hardware(profile.cpu.cores[0], profile.memory.ram_bytes)
        with ExitStack() as stack:
            kept = stack.enter_context(KeptArtefacts(artefacts))
            board = stack.enter_context(EmulatedBoard(hardware, print))
            for question in (q for q in left if q.profile == name):
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


def _asked(question: Question, profile: DeviceProfile, prepared: Prepared, board: EmulatedBoard) -> Case:
    subject = question.subject
    backend = BACKENDS.get(subject.backend)
    graph = traced(subject.model, subject.inputs)
    made = estimate(graph, dtype=subject.dtype, runtime=subject.backend, target=profile.target)
    assert not isinstance(made.layout, Unsupported)
    whole_bytes = made.raw_peak_bytes if question.of == "peak" else kept_bytes(made.layout)
    wanted_bytes = int(whole_bytes * question.factor)
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


def main(file: str, artefacts: str) -> None:
    """Run all that is left, a line on stdout each, and print the table of all."""
    path = Path(file)
    for case in run(path, Path(artefacts)):
        asked = f"{case.core} {case.model} {case.dtype}, {case.factor} of {case.of}"
        print(f"{asked}: {case.available_bytes:,} bytes available, {case.ending}", flush=True)
    cases = parse_cases(path.read_text(encoding="utf-8"), file)
    print(f"{len(cases)} cases: {boards_of(cases)}\n\n{confusion_table(verified(cases))}")


if __name__ == "__main__":
    main(*sys.argv[1:])
