"""`edgebudget validate`: the estimate held against what real runtimes took."""

from pathlib import Path
from typing import Annotated

import typer

from edgebudget.cli import options
from edgebudget.cli.output import print_result, write_files
from edgebudget.cli.progress import followed, progress


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: edgebudget validate --part judge")(validate)


def validate(
    part: Annotated[
        str,
        typer.Option("--part", metavar="build|judge", help="The models that were built on, or those to judge by."),
    ] = "judge",
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data", metavar="FILE", help="Other measurements, which 'edgebudget measure' wrote; repeatable."
        ),
    ] = None,
    models: Annotated[bool, typer.Option("--models", help="Show every model too, largest error first.")] = False,
    calibration: options.CalibrationName = None,
    out: Annotated[str, typer.Option("--out", metavar="FILE|-", help="Where the table goes; - is stdout.")] = "-",
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> int:
    """Print the error table: every recorded measurement against the estimate that this version gives for it.

    The models to judge by are not those that runtime models were built on. Heap and process are over the idle runtime.
    Each family is judged by fits to all recorded measurements but its own, unless --data or --calibration is given:
    then by that calibration, or the one that comes with the package.
    """
    from edgebudget.calibration.recorded import LeavingOut
    from edgebudget.calibration.store import SHIPPED, load_calibrations
    from edgebudget.errors import UsageError
    from edgebudget.evidence import (
        is_of_gpu,
        read_gpu_measurements,
        read_measurements,
        recorded_gpu_measurements,
        recorded_measurements,
    )
    from edgebudget.measure.suite import PARTS
    from edgebudget.validation.document import LEFT_OUT, document
    from edgebudget.validation.recorded import compared, compared_on_gpu, judged

    if part not in ("build", "judge"):
        raise UsageError(f"There is no part {part!r}.", "Write --part build or --part judge.")
    if data:
        measurements = read_measurements(path for path in data if not is_of_gpu(path))
        on_gpu = read_gpu_measurements(path for path in data if is_of_gpu(path))
    else:
        measurements, on_gpu = recorded_measurements(part), recorded_gpu_measurements()
    given = load_calibrations(calibration) if data or calibration else None
    fitted = recorded_measurements(*PARTS) if given is None else ()
    with progress("estimating", len(measurements) + len(fitted), quiet=quiet) as done:
        errors = tuple(compared(followed(measurements, lambda m: m.subject.model, done), part))
        # Of the same estimates, which are made once.
        left_out = LeavingOut(followed(fitted, lambda m: m.subject.model, done))
        verdicts = tuple(judged(measurements, left_out if given is None else lambda family: given))
    by = LEFT_OUT if given is None else f"by {calibration or SHIPPED}"
    text = document(measurements, (*errors, *compared_on_gpu(on_gpu)), verdicts, by, with_models=models)
    if out == "-":
        print_result(text)
    else:
        write_files({Path(out): text})
    return 0
