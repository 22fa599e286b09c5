"""`edgebudget calibrate`: fit estimates to measurements."""

from pathlib import Path
from typing import Annotated

import typer

from edgebudget.cli import options
from edgebudget.cli.output import print_result, write_files
from edgebudget.cli.progress import followed, progress


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: edgebudget calibrate --data my-board.jsonl --out my-board.json")(calibrate)


def calibrate(
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data",
            metavar="FILE",
            help="Measurements that 'edgebudget measure' wrote; repeatable. Default: all those of the package.",
        ),
    ] = None,
    level: Annotated[float, typer.Option("--level", metavar="SHARE", help="What share the intervals must hold.")] = 0.9,
    out: Annotated[str, typer.Option("--out", metavar="FILE|-", help="Where the fits go; - is stdout.")] = "-",
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> int:
    """Fit each runtime and dtype in the measurements, with its error on families left out, for --calibration.

    A runtime and dtype with too few measurements, or mixed ones, is named and left out. Exit code 2 when nothing is
    left.
    """
    from edgebudget.calibration.on_gpu import fit_gpu
    from edgebudget.calibration.recorded import fit_all
    from edgebudget.calibration.store import to_json
    from edgebudget.errors import CalibrationError
    from edgebudget.evidence import (
        is_of_gpu,
        read_gpu_measurements,
        read_measurements,
        recorded_gpu_measurements,
        recorded_measurements,
    )
    from edgebudget.measure.suite import PARTS

    if data:
        measurements = read_measurements(path for path in data if not is_of_gpu(path))
        on_gpu = read_gpu_measurements(path for path in data if is_of_gpu(path))
    else:
        measurements, on_gpu = recorded_measurements(*PARTS), recorded_gpu_measurements()

    def tell(sentence: str) -> None:
        if not quiet:
            typer.echo(sentence, err=True)

    with progress("estimating", len(measurements), quiet=quiet) as done:
        fits = fit_all(followed(measurements, lambda m: m.subject.model, done), level, tell)
    fits += fit_gpu(on_gpu, level, tell)
    if not fits:
        raise CalibrationError(
            f"Nothing could be fitted to {len(measurements) + len(on_gpu)} measurements.",
            "Measure more models with 'edgebudget measure': a fit needs at least 10 of 5 families.",
        )
    text = to_json(fits)
    if out == "-":
        print_result(text)
    else:
        write_files({Path(out): text})
    return 0
