"""`edgebudget inspect`: what a model is made of, layer by layer."""

from pathlib import Path
from typing import Annotated

import typer

from edgebudget.cli import options
from edgebudget.cli.output import file_stem, prepare_folder, print_error, print_result, write_files
from edgebudget.cli.progress import progress
from edgebudget.errors import EdgeBudgetError, UsageError

SORTS = "model, parameters, bytes, activations, multiply-adds, name"


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: edgebudget inspect mobilenet_v2 --sort parameters --min-share 1")(inspect)


def inspect(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="torchvision name, package.module:factory, path/file.py:factory, path/model.pt2, or timm:NAME.",
        ),
    ],
    dtype: options.Dtypes = "float32,float16,int8",
    input: options.Inputs = None,
    batch: options.Batch = None,
    sort: Annotated[str, typer.Option("--sort", metavar="KEY", help=f"One of {SORTS}; largest first.")] = "model",
    depth: Annotated[
        int | None, typer.Option("--depth", metavar="N", min=0, help="Show N levels of modules.", show_default=False)
    ] = None,
    min_share: Annotated[
        str,
        typer.Option(
            "--min-share", metavar="PERCENT", help="Leave out layers with less of both parameters and multiply-adds."
        ),
    ] = "0",
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights",
            metavar="FILE",
            help="State dict of the model, .pt or .safetensors, to count zeros in.",
            show_default=False,
        ),
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", metavar="LIST", help="Comma list of text, csv, json, md, html.")
    ] = "text",
    out: Annotated[str, typer.Option("--out", metavar="DIR|-", help="Folder to write files to; - is stdout.")] = "-",
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> int:
    """Show a model's layers: shapes, parameters, bytes under each dtype, live activations, multiply-adds.

    Several models stand side by side. Exit code 2: wrong usage, or a model that could not be traced; the others are
    still shown.
    """
    from edgebudget.inspection.formats import FORMATS
    from edgebudget.inspection.load import inspect_model
    from edgebudget.inspection.rows import ORDERS, Selection
    from edgebudget.registry import unknown_name
    from edgebudget.units import parse_percent

    wanted = [FORMATS.get(name) for name in options.comma_list(formats)]
    if out == "-" and len(wanted) != 1:
        raise UsageError(f"stdout takes one format, not {len(wanted)}.", "Name one --format, or give --out a folder.")
    if sort not in ORDERS:
        raise unknown_name("key to sort by:", sort, ORDERS)
    if weights is not None and len(models) > 1:
        raise UsageError(f"--weights belongs to one model, not to {len(models)}.", "Inspect one model at a time.")
    try:
        min_share_percent = parse_percent(min_share)
    except ValueError as error:
        raise UsageError(f"--min-share: {error}.") from None
    specs = options.parse_inputs(input or [])
    if out != "-":
        prepare_folder(Path(out))
    inspections = []
    failed = False
    with progress(len(models), quiet=quiet) as done:
        for model in dict.fromkeys(models):
            try:
                inspections.append(inspect_model(model, options.comma_list(dtype), specs, batch, weights))
            except EdgeBudgetError as error:
                if len(models) == 1:
                    raise
                print_error(str(error))
                failed = True
            done(model)
    selection = Selection(sort, depth, min_share_percent)
    texts = {form: form.render(inspections, selection) for form in wanted}
    if out == "-":
        print_result(texts[wanted[0]])
    else:
        stem = f"inspect-{file_stem(models[0]) if len(models) == 1 else 'models'}"
        write_files({Path(out) / f"{stem}{form.suffix}": text for form, text in texts.items()})
    return 2 if failed else 0
