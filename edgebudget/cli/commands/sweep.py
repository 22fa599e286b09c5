"""`edgebudget sweep`: a zoo of models into one table, which can be killed and taken up again."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgebudget.cli import options
from edgebudget.cli.output import prepare_folder, print_error, print_result, refuse_odd_target, whole_file
from edgebudget.cli.progress import progress
from edgebudget.errors import UsageError

if TYPE_CHECKING:
    from edgebudget.sweeping.journal import Journal
    from edgebudget.sweeping.plan import Unit


def register(app: typer.Typer) -> None:
    app.command(
        epilog="Example: edgebudget sweep 'torchvision:*' 'timm:mobile*' --device all --out zoo.parquet --jobs 4"
    )(sweep)


def sweep(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL...", help="As for check, and globs: 'torchvision:*', 'timm:mobile*'.", show_default=False
        ),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option("--plan", metavar="FILE", help="YAML with models, resolutions, batch, dtypes, runtimes, devices."),
    ] = None,
    device: options.Devices = None,
    dtype: Annotated[
        str, typer.Option("--dtype", metavar="LIST", help="Comma list. Default: float32,float16,int8.")
    ] = "",
    runtime: options.Runtimes = "",
    resolution: Annotated[
        str,
        typer.Option("--resolution", metavar="LIST", help="Comma list of 224, 192x320 (height x width), default."),
    ] = "",
    batch: options.Batch = None,
    out: Annotated[
        str, typer.Option("--out", metavar="FILE", help="Table to write: .parquet or .csv. FILE.part keeps the rest.")
    ] = "sweep.csv",
    jobs: options.Jobs = 1,
    backend: Annotated[str, typer.Option("--backend", metavar="NAME", help="local, dask or ray.")] = "local",
    address: Annotated[str, typer.Option("--address", metavar="ADDRESS", help="Of the cluster.")] = "",
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=1, max=10**6, help="For one model at one resolution.")
    ] = 600,
    memory_limit: Annotated[
        str,
        typer.Option("--memory-limit", metavar="SIZE", help="Memory that one model may take, e.g. 4GiB. Linux only."),
    ] = "",
    calibration: options.CalibrationName = None,
    headroom: options.Headroom = "0",
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> int:
    """Estimate a zoo: models x resolutions x dtypes x runtimes x devices into one table.

    Each model runs in a process of its own: one that fails, hangs, dies or takes too much memory is one row with its
    reason. Results are kept in FILE.part as they come; after a kill the same command goes on where it stopped. Options
    go before what --plan says. Exit code 0: all estimated; 2: wrong usage, or some model could not be estimated.
    """
    from edgebudget.pipeline import DEFAULT_DTYPES, validate
    from edgebudget.sources import expand_models
    from edgebudget.sweeping.backends import BACKENDS
    from edgebudget.sweeping.journal import open_journal
    from edgebudget.sweeping.plan import Plan, load_plan, parse_resolution, units
    from edgebudget.sweeping.run import fingerprint, run_units
    from edgebudget.sweeping.supervisor import Limits
    from edgebudget.sweeping.table import require_suffix

    said = load_plan(plan) if plan else Plan()
    request = options.build_request(
        device or list(said.devices),
        dtype or ",".join(said.dtypes or DEFAULT_DTYPES),
        runtime or ",".join(said.runtimes),
        None,
        batch or said.batch,
        calibration,
        headroom,
    )
    place, limits = BACKENDS.get(backend), Limits(timeout, _memory(memory_limit))
    sizes = tuple(parse_resolution(text) for text in options.comma_list(resolution)) or said.resolutions
    path = Path(out)
    require_suffix(path)
    refuse_odd_target(path)
    prepare_folder(path.parent)
    part = path.with_name(path.name + ".part")
    if path.exists() and not part.exists():
        raise UsageError(f"{path} exists already.", "Remove it to sweep again, or give --out another name.")
    chosen = expand_models(tuple(models or ()) or said.models)
    validate(chosen, request)
    wanted = units(chosen, sizes)
    with open_journal(part, fingerprint(request)) as journal:
        left = [unit for unit in wanted if unit not in journal.places]
        try:
            with progress("sweeping", len(left), quiet=quiet) as on_done:
                for finished in run_units(left, request, limits, place, address, jobs):
                    journal.add(finished)
                    on_done(finished.unit.model)
        except KeyboardInterrupt:
            print_error(f"{len(journal.places)} of {len(wanted)} are in {part}; the same command goes on there")
            raise
        _write(journal, wanted, path)
        part.unlink()
        failures = _failures(journal, wanted)
    if not quiet:
        print_result(_summary(len(wanted), failures, path))
    return 2 if failures else 0


def _memory(text: str) -> int | None:
    import sys

    from edgebudget.units import parse_binary_size

    if not text:
        return None
    if sys.platform != "linux":
        raise UsageError("--memory-limit needs Linux, which counts what a process allocates.", "Leave it out.")
    try:
        return parse_binary_size(text)
    except ValueError as error:
        raise UsageError(f"--memory-limit: {error}.") from None


def _write(journal: "Journal", wanted: "tuple[Unit, ...]", path: Path) -> None:
    from edgebudget.sweeping.table import write_csv, write_parquet

    with whole_file(path) as temporary:
        write = write_parquet if path.suffix == ".parquet" else write_csv
        write((journal.read(unit) for unit in wanted), temporary)


def _failures(journal: "Journal", wanted: "tuple[Unit, ...]") -> "Counter[str]":
    kinds = (journal.read(unit).failure for unit in wanted)
    return Counter(kind for kind in kinds if kind is not None)


def _summary(count: int, failures: "Counter[str]", path: Path) -> str:
    good = count - failures.total()
    lines = [f"{path}: {good} of {count} estimated."]
    lines += [f"{number:6} {kind}" for kind, number in failures.most_common()]
    return "\n".join(lines) + "\n"
