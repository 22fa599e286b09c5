"""`edgebudget check`: do the models fit the devices?"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgebudget.cli import completion, options
from edgebudget.cli.output import file_stem, prepare_folder, print_error, print_errors, print_result, write_files
from edgebudget.cli.progress import progress
from edgebudget.errors import BaselineError, UsageError

if TYPE_CHECKING:
    from edgebudget.growth import Growth
    from edgebudget.report import Report
    from edgebudget.settings import Settings

FILE_FORMATS = "md,csv,json,html"


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: edgebudget check mobilenet_v2 --device raspberrypi --dtype float32,int8")(check)


def check(
    models: options.Models = None,
    device: options.Devices = None,
    profiles: options.Profiles = None,
    dtype: options.Dtypes = "",
    runtime: options.Runtimes = "",
    input: options.Inputs = None,
    batch: options.Batch = None,
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="LIST",
            help="Comma list of text, csv, json, md, html, junit, github. "
            f"Default: text, or {FILE_FORMATS} with --out DIR.",
            show_default=False,
            autocompletion=completion.formats,
        ),
    ] = "",
    out: Annotated[str, typer.Option("--out", metavar="DIR|-", help="Folder to write files to; - is stdout.")] = "-",
    calibration: options.CalibrationName = None,
    headroom: options.Headroom = "",
    allow_marginal: Annotated[
        bool | None,
        typer.Option("--allow-marginal/--no-allow-marginal", help="Let MARGINAL count as GO.", show_default=False),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline",
            metavar="FILE|none",
            help="Earlier JSON report to compare peaks and files with.",
            show_default=False,
        ),
    ] = None,
    max_growth: Annotated[
        str,
        typer.Option(
            "--max-growth",
            metavar="PERCENT",
            help="How much more than the baseline is still good. Default: 5%.",
            show_default=False,
        ),
    ] = "",
    jobs: options.Jobs = 1,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> int:
    """Say whether models fit devices: GO, MARGINAL or NO-GO, with the numbers behind it.

    What is not given is taken from edgebudget.yaml, or [tool.edgebudget] in pyproject.toml, in this folder or above.
    Exit code 0: every model has an option that is GO on every device; 1: some has none, or grew too much since the
    baseline; 2: wrong usage, or a model that could not be estimated.
    """
    from edgebudget.cli.github import append_step_summary
    from edgebudget.pipeline import run
    from edgebudget.report import exit_code
    from edgebudget.reporters import REPORTERS

    names = options.comma_list(formats) or options.comma_list("text" if out == "-" else FILE_FORMATS)
    reporters = [REPORTERS.get(name) for name in names]
    if out == "-" and len(reporters) != 1:
        raise UsageError(
            f"stdout takes one format, not {len(reporters)}.", "Name one --format, or give --out a folder."
        )
    settings = options.repository_settings(quiet, profiles)
    request = options.build_request(device, dtype, runtime, input, batch, calibration, headroom, profiles, settings)
    compare = _baseline(baseline, max_growth, settings)
    if out != "-":
        prepare_folder(Path(out))
    with (
        options.chosen(models, settings) as asked,
        progress("estimating", len(set(asked)) * len(request.devices), quiet=quiet) as on_done,
    ):
        report = run(asked, request, jobs=jobs, on_done=on_done)
    if compare is not None:
        report = replace(report, growth=compare(report))
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
    if "github" in names:
        append_step_summary(report)
    if report.growth is not None and report.growth.too_much:
        print_error(f"{report.growth.headline} The most: {report.growth.too_much[0]}")
    return exit_code(report, allow_marginal=settings.allow_marginal if allow_marginal is None else allow_marginal)


def _baseline(baseline: Path | None, max_growth: str, settings: "Settings") -> "Callable[[Report], Growth] | None":
    """Return what compares a report with the baseline, which is read before any work is done; None without one.

    Raises BaselineError for a file that is no report, UsageError for a limit on nothing.
    """
    from edgebudget import __version__
    from edgebudget.growth import DEFAULT_MAX_PERCENT, grown
    from edgebudget.reporters.json import parse

    path = baseline or settings.baseline
    if path is None or str(baseline) == "none":
        if max_growth:
            raise UsageError("--max-growth has nothing to compare with.", "Give --baseline an earlier JSON report.")
        return None
    limit = settings.max_growth_percent
    limit = (
        options.percent("--max-growth", max_growth) if max_growth else DEFAULT_MAX_PERCENT if limit is None else limit
    )
    try:
        before = parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise BaselineError(
            f"The baseline {path} cannot be read: {reason}.",
            "Write one with: edgebudget check ... --format json --baseline none",
        ) from None
    other = f"{path} was written by edgebudget {before.tool_version}, which may estimate otherwise."
    notes = () if before.tool_version == __version__ else (other,)
    return lambda report: grown(str(path), before.results, report.results, limit, notes)


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
