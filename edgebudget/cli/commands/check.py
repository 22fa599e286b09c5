"""`edgebudget check`: do the models fit the devices?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgebudget.cli import options
from edgebudget.cli.output import file_stem, prepare_folder, print_errors, print_result, write_files
from edgebudget.cli.progress import progress
from edgebudget.errors import UsageError

if TYPE_CHECKING:
    from edgebudget.report import Report

FILE_FORMATS = "md,csv,json,html"


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: edgebudget check mobilenet_v2 --device raspberrypi --dtype float32,int8")(check)


def check(
    models: options.Models = None,
    device: options.Devices = None,
    profiles: options.Profiles = None,
    dtype: options.Dtypes = "float32,float16,int8",
    runtime: options.Runtimes = "",
    input: options.Inputs = None,
    batch: options.Batch = None,
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="LIST",
            help=f"Comma list of text, csv, json, md, html, junit. Default: text, or {FILE_FORMATS} with --out DIR.",
            show_default=False,
        ),
    ] = "",
    out: Annotated[str, typer.Option("--out", metavar="DIR|-", help="Folder to write files to; - is stdout.")] = "-",
    calibration: options.CalibrationName = None,
    headroom: options.Headroom = "0",
    allow_marginal: Annotated[bool, typer.Option("--allow-marginal", help="Let MARGINAL count as GO.")] = False,
    jobs: options.Jobs = 1,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> int:
    """Say whether models fit devices: GO, MARGINAL or NO-GO, with the numbers behind it.

    Exit code 0: every model has an option that is GO on every device; 1: some has none; 2: wrong usage, or a model
    that could not be estimated.
    """
    from edgebudget.pipeline import run
    from edgebudget.report import exit_code
    from edgebudget.reporters import REPORTERS
    from edgebudget.suite import MOBILE_SUITE

    names = options.comma_list(formats) or options.comma_list("text" if out == "-" else FILE_FORMATS)
    reporters = [REPORTERS.get(name) for name in names]
    if out == "-" and len(reporters) != 1:
        raise UsageError(
            f"stdout takes one format, not {len(reporters)}.", "Name one --format, or give --out a folder."
        )
    request = options.build_request(device, dtype, runtime, input, batch, calibration, headroom, profiles)
    if out != "-":
        prepare_folder(Path(out))
    chosen = models or list(MOBILE_SUITE)
    with progress(len(chosen), quiet=quiet) as on_done:
        report = run(chosen, request, jobs=jobs, on_done=on_done)
    print_errors(report)
    if out == "-" and (report.results or names != ("text",)):
        print_result(reporters[0].render(report))
    elif out != "-":
        parts = by_file_stem(report, [profile.name for profile in request.devices])
        write_files(
            {Path(out) / f"{stem}{r.suffix}": r.render(part) for stem, part in parts.items() for r in reporters}
        )
        if not quiet:
            print_result(REPORTERS.get("text").render(report))
    return exit_code(report, allow_marginal=allow_marginal)


def by_file_stem(report: "Report", devices: list[str]) -> "dict[str, Report]":
    """Return each device's part of `report` under the name of its files, which no two devices share."""
    stems: dict[str, Report] = {}
    for device in dict.fromkeys(devices):
        stem, count = file_stem(device), 1
        while stem in stems:
            count += 1
            stem = f"{file_stem(device)}-{count}"
        stems[stem] = report.for_device(device)
    return stems
