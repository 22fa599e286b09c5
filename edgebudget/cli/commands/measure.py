"""`edgebudget measure`: real peaks of real runtimes, one fresh process each."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgebudget.cli import options
from edgebudget.cli.gpu import is_gpu, measure_on_gpu
from edgebudget.cli.output import print_result
from edgebudget.errors import UsageError

if TYPE_CHECKING:
    from edgebudget.measure.interface import Failure, Measurement, Subject


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: edgebudget measure mobilenet_v2 --backend executorch-xnnpack --dtype float32,int8")(
        measure
    )


def measure(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...", help="torchvision name, package.module:factory, path/file.py:factory, or timm:NAME."
        ),
    ],
    backend: Annotated[
        str, typer.Option("--backend", metavar="LIST", help="Comma list of runtimes to run; or cuda, cuda:1: a GPU.")
    ],
    dtype: Annotated[
        str,
        typer.Option("--dtype", metavar="LIST", help="Comma list. Default: all of each backend.", show_default=False),
    ] = "",
    inputs: options.Inputs = None,
    out: Annotated[
        str,
        typer.Option(
            "--out",
            metavar="FILE|-",
            help="File of JSON lines to add to; what it holds is not measured again. - is stdout.",
        ),
    ] = "-",
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> int:
    """Run models for real, each in a fresh process of its own, and record what the heap and the process take.

    Builds every model with random weights. Exit code 2 when something could not be measured; the rest is recorded.
    """
    from edgebudget.measure import campaign
    from edgebudget.measure.interface import Failure
    from edgebudget.measure.records import to_json_line

    backends, dtypes = options.comma_list(backend), options.comma_list(dtype)
    if any(map(is_gpu, backends)):
        if len(backends) > 1:
            raise UsageError("A GPU is measured by itself.", "Give --backend cuda alone, the others in another run.")
        return measure_on_gpu(models, backends[0], dtypes, inputs or [], out, quiet)
    subjects = _subjects(models, backends, dtypes, inputs or [])
    failures: list[Failure] = []

    def tell(result: "Measurement | Failure") -> None:
        if isinstance(result, Failure):
            failures.append(result)
        if isinstance(result, Failure) or not quiet:
            typer.echo(_told(result), err=True)

    if out == "-":
        for result in campaign.measure(subjects):
            tell(result)
            if not isinstance(result, Failure):
                print_result(to_json_line(result) + "\n")
    else:
        campaign.measure_to_file(subjects, Path(out), tell)
    return 2 if failures else 0


def _subjects(
    models: list[str], backends: tuple[str, ...], dtypes: tuple[str, ...], inputs: list[str]
) -> "tuple[Subject, ...]":
    from edgebudget.measure import BACKENDS
    from edgebudget.measure.interface import Subject
    from edgebudget.measure.models import input_shapes

    pairs = []
    for name in backends:
        known = BACKENDS.get(name).dtypes
        wrong = next((dtype for dtype in dtypes if dtype not in known), None)
        if wrong is not None:
            raise UsageError(f"The backend {name!r} does not make {wrong!r}.", f"It makes {', '.join(known)}.")
        pairs += [(name, dtype) for dtype in dtypes or known]
        BACKENDS.get(name).require()
    if not pairs:
        raise UsageError("No backend was named.", f"Give --backend one of {', '.join(BACKENDS.names())}, or cuda.")
    return tuple(
        Subject(model, shapes, name, dtype)
        for model in models
        for shapes in [input_shapes(model, inputs)]
        for name, dtype in pairs
    )


def _told(result: "Measurement | Failure") -> str:
    from edgebudget.measure.interface import Failure
    from edgebudget.units import format_bytes

    subject = result.subject
    what = f"{subject.model} {subject.backend} {subject.dtype}"
    if isinstance(result, Failure):
        return f"{what}: not measured. {result.reason}"
    load = f"{format_bytes(result.load_heap_bytes)} heap, {format_bytes(result.load_process_bytes)} process"
    inference = (
        f"{format_bytes(result.inference_heap_bytes)} heap, {format_bytes(result.inference_process_bytes)} process"
    )
    return f"{what}: load {load}; inference {inference}"
