"""`edgebudget compare`: devices x models x dtypes in one CSV."""

from pathlib import Path
from typing import Annotated

import typer

from edgebudget.cli import options
from edgebudget.cli.output import prepare_folder, print_errors, print_result, write_files
from edgebudget.cli.progress import progress


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: edgebudget compare mobilenet_v2 resnet18 --device 'raspberrypi*' --out compare.csv")(
        compare
    )


def compare(
    models: options.Models = None,
    device: options.Devices = None,
    profiles: options.Profiles = None,
    dtype: options.Dtypes = "float32,float16,int8",
    runtime: options.Runtimes = "",
    out: Annotated[str, typer.Option("--out", metavar="FILE|-", help="CSV file to write; - is stdout.")] = "-",
    jobs: options.Jobs = 1,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> int:
    """Write one CSV over devices x models x dtypes.

    Exit code 0 whatever the verdicts, which are what is compared; 2: wrong usage, or a model that could not be
    estimated (the others are still in the CSV).
    """
    from edgebudget.pipeline import run
    from edgebudget.reporters import REPORTERS
    from edgebudget.suite import MOBILE_SUITE

    request = options.build_request(device, dtype, runtime, profiles=profiles)
    if out != "-":
        prepare_folder(Path(out).parent)
    chosen = models or list(MOBILE_SUITE)
    with progress(len(chosen), quiet=quiet) as on_done:
        report = run(chosen, request, jobs=jobs, on_done=on_done)
    print_errors(report)
    text = REPORTERS.get("csv").render(report)
    if out == "-":
        print_result(text)
    else:
        write_files({Path(out): text})
    return 2 if report.errors else 0
