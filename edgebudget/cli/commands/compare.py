"""`edgebudget compare`: models x devices x runtimes x dtypes in one table."""

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
    form: Annotated[
        str, typer.Option("--format", metavar="csv|md", help="A table to calculate with, or a matrix of verdicts.")
    ] = "csv",
    out: Annotated[str, typer.Option("--out", metavar="FILE|-", help="File to write; - is stdout.")] = "-",
    jobs: options.Jobs = 1,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> int:
    """Write one table over models x devices x runtimes x dtypes, the best choice of each pair on top.

    The CSV has a row an option, with its difference to float32 in bytes and percent; md is a matrix of verdicts.

    Exit code 0 whatever the verdicts, which are what is compared; 2: wrong usage, or a model that could not be
    estimated (the others are still in the table).
    """
    from edgebudget.comparison import Comparison
    from edgebudget.errors import UsageError
    from edgebudget.pipeline import run
    from edgebudget.suite import MOBILE_SUITE

    if form not in ("csv", "md"):
        raise UsageError(f"compare does not write {form!r}.", "Use --format csv or --format md.")
    request = options.build_request(device, dtype, runtime, profiles=profiles)
    if out != "-":
        prepare_folder(Path(out).parent)
    chosen = models or list(MOBILE_SUITE)
    with progress(len(chosen), quiet=quiet) as on_done:
        report = run(chosen, request, jobs=jobs, on_done=on_done)
    print_errors(report)
    comparison = Comparison(report)
    text = comparison.to_csv() if form == "csv" else comparison.to_markdown()
    if out == "-":
        print_result(text)
    else:
        write_files({Path(out): text})
    return 2 if report.errors else 0
