"""`edgebudget validate`: the estimate held against what real runtimes took."""

from pathlib import Path
from typing import Annotated

import typer

from edgebudget.cli import options
from edgebudget.cli.output import print_result, write_files


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
    """
    from edgebudget.calibration.store import load_calibrations
    from edgebudget.errors import UsageError
    from edgebudget.evidence import (
        is_of_gpu,
        read_gpu_measurements,
        read_measurements,
        recorded_gpu_measurements,
        recorded_measurements,
    )
    from edgebudget.validation.document import document
    from edgebudget.validation.recorded import compared, compared_on_gpu, judged

    if part not in ("build", "judge"):
        raise UsageError(f"There is no part {part!r}.", "Write --part build or --part judge.")
    if data:
        measurements = read_measurements(path for path in data if not is_of_gpu(path))
        on_gpu = read_gpu_measurements(path for path in data if is_of_gpu(path))
    else:
        measurements, on_gpu = recorded_measurements(part), recorded_gpu_measurements()
    text = document(
        measurements,
        (*compared(measurements, part), *compared_on_gpu(on_gpu)),
        tuple(judged(measurements, load_calibrations(calibration))),
        with_models=models,
    )
    if out == "-":
        print_result(text)
    else:
        write_files({Path(out): text})
    return 0
