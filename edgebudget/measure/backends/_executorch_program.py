"""What both ExecuTorch backends share: the runner, and what a lowered program says about itself."""

import importlib.util
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgebudget.errors import MissingExtraError
from edgebudget.measure.interface import SCATTERED_WEIGHTS, Artefact, Subject
from edgebudget.measure.native_build import executorch_runner

if TYPE_CHECKING:
    from executorch.exir import ExecutorchProgramManager

PACKAGES = ("torch", "torchvision", "timm", "executorch", "torchao")
WORKER = "C++ runner on the wheel's libraries, no Python"


def package_folder(needed_for: str) -> Path:
    """Return where the executorch package lies, without importing it; raises MissingExtraError."""
    spec = importlib.util.find_spec("executorch")
    places = list(spec.submodule_search_locations or []) if spec else []
    if not places:
        raise MissingExtraError("executorch", "executorch", needed_for)
    return Path(places[0])


def runner_command(subject: Subject, artefact: Artefact, threads: int, runs: int) -> Sequence[str]:
    """Return the runner with the program mapped into memory, which is how a device loads it."""
    runner = executorch_runner(package_folder(f"The backend '{subject.backend}'"))
    return [str(runner), str(artefact.path), "map", str(threads), str(runs), *subject.inputs]


def written(
    program: "ExecutorchProgramManager",
    path: Path,
    export_seconds: float,
    lowering_seconds: float,
    settings: Mapping[str, str],
) -> Artefact:
    """Write the program to `path` and return it with its planned buffers, delegates, and operators outside of them."""
    with path.open("wb") as file:
        program.write_to_file(file)
    plan = program.executorch_program.execution_plan[0]
    outside: Counter[str] = Counter()
    delegate_calls = 0
    for chain in plan.chains:
        for instruction in chain.instructions:
            call = instruction.instr_args
            match type(call).__name__:
                case "KernelCall":
                    operator = plan.operators[call.op_index]
                    outside[f"{operator.name}.{operator.overload}".rstrip(".")] += 1
                case "DelegateCall":
                    delegate_calls += 1
    return Artefact(
        path=path,
        nbytes=path.stat().st_size,
        export_seconds=round(export_seconds, 3),
        lowering_seconds=round(lowering_seconds, 3),
        planned_bytes=tuple(plan.non_const_buffer_sizes[1:]),  # the first is a placeholder, always 0
        delegate_count=delegate_calls,
        outside_ops=dict(sorted(outside.items())),
        settings={"load_mode": "mmap", "weights": SCATTERED_WEIGHTS, **settings},
    )
