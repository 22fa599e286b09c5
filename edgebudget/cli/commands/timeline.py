"""`edgebudget timeline`: memory over operators, for Perfetto and PyTorch's memory_viz."""

from pathlib import Path
from typing import Annotated

import typer

from edgebudget.cli import options
from edgebudget.cli.output import file_stem, prepare_folder, print_error, write_files
from edgebudget.cli.progress import progress
from edgebudget.errors import ModelError


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: edgebudget timeline mobilenet_v2 --device raspberrypi --dtype float32,int8")(timeline)


def timeline(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="torchvision name, package.module:factory, path/file.py:factory, path/model.pt2, or timm:NAME.",
        ),
    ],
    device: options.Devices = None,
    dtype: options.Dtypes = "float32,float16,int8",
    runtime: options.Runtimes = "",
    input: options.Inputs = None,
    batch: options.Batch = None,
    form: Annotated[
        str,
        typer.Option(
            "--format", metavar="NAME", help="trace: Chrome trace, for Perfetto. snapshot: for PyTorch's memory_viz."
        ),
    ] = "trace",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Default: the model's name in this folder.", show_default=False),
    ] = None,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> int:
    """Write which activations are alive at each operator, and where they stand, to a file for another viewer.

    The options of the model (devices x runtimes x dtypes) stand beside each other in it. Exit code 2: wrong usage, or
    nothing that could be estimated.
    """
    from edgebudget.pipeline import run
    from edgebudget.timeline import TIMELINES

    chosen = TIMELINES.get(form)
    request = options.build_request(device, dtype, runtime, input, batch)
    path = out or Path(f"{file_stem(model)}{chosen.suffix}")
    prepare_folder(path.parent)
    with progress(1, quiet=quiet) as on_done:
        report = run([model], request, on_done=on_done)
    for error in report.errors:
        raise ModelError(error.message, error.hint)
    for result in report.results:
        if result.raw_peak_bytes is None and not quiet:
            print_error(f"{result.device}, {result.runtime}, {result.dtype}: {' '.join(result.reasons)}")
    if not report.layouts:
        raise ModelError(f"No option of {model} has a timeline.", "Name another --dtype or --runtime.")
    layouts = {
        f"{key.model} on {key.device}, {key.runtime}, {key.dtype}": layout for key, layout in report.layouts.items()
    }
    write_files({path: chosen.render(layouts)})
    if not quiet:
        typer.echo(str(path))
    return 0
