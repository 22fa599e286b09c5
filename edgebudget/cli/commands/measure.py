"""`edgebudget measure`: real peaks of real runtimes, one fresh process each."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgebudget.cli import completion, options
from edgebudget.cli.gpu import is_gpu, measure_on_gpu
from edgebudget.cli.output import print_result
from edgebudget.cli.progress import bar
from edgebudget.errors import UsageError

if TYPE_CHECKING:
    from edgebudget.measure.interface import Failure, Measurement, Subject
    from edgebudget.measure.place import Place

DEFAULT_MEMORY_MIB = 2048


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: edgebudget measure mobilenet_v2 --backend executorch-xnnpack --dtype float32,int8")(
        measure
    )


def measure(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="torchvision name, package.module:factory, path/file.py:factory, or timm:NAME.",
            autocompletion=completion.models,
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
    board: Annotated[
        str,
        typer.Option(
            "--board",
            metavar="CORE",
            help="Run on an emulated board: cortex-a53, cortex-a72 or cortex-a76.",
            show_default=False,
        ),
    ] = "",
    memory: Annotated[
        int | None,
        typer.Option("--memory", metavar="MiB", min=128, help="RAM of the emulated board.  [default: 2048]"),
    ] = None,
    ssh: Annotated[
        str,
        typer.Option(
            "--ssh",
            metavar="DESTINATION",
            help="Run on a real board, reached by 'ssh DESTINATION': user@host, or with options before it.",
            show_default=False,
        ),
    ] = "",
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

    With --board or --ssh the models are exported here and run there.
    Builds every model with random weights. Exit code 2 when something could not be measured; the rest is recorded.
    """
    from edgebudget.measure import campaign
    from edgebudget.measure.interface import Failure
    from edgebudget.measure.records import to_json_line

    backends, dtypes = options.comma_list(backend), options.comma_list(dtype)
    if any(map(is_gpu, backends)):
        if len(backends) > 1:
            raise UsageError("A GPU is measured by itself.", "Give --backend cuda alone, the others in another run.")
        if board or ssh:
            raise UsageError("A GPU is measured in this machine.", "Leave out --board and --ssh.")
        return measure_on_gpu(models, backends[0], dtypes, inputs or [], out, quiet)
    subjects = _subjects(models, backends, dtypes, inputs or [])
    failures: list[Failure] = []

    with _place(board, memory, ssh, quiet) as place:
        left = len(subjects) if out == "-" else len(set(subjects) - campaign.recorded(Path(out), place.board))
        with bar("measuring", left, quiet=quiet) as done:

            def tell(result: "Measurement | Failure") -> None:
                if isinstance(result, Failure):
                    failures.append(result)
                if isinstance(result, Failure) or not quiet:
                    typer.echo(_told(result), err=True)
                done(result.subject.model)

            if out == "-":
                for result in campaign.measure(subjects, place):
                    tell(result)
                    if not isinstance(result, Failure):
                        print_result(to_json_line(result) + "\n")
            else:
                campaign.measure_to_file(subjects, place, Path(out), tell)
    return 2 if failures else 0


def _place(board: str, memory: int | None, ssh: str, quiet: bool) -> "Place":
    def tell(text: str) -> None:
        if not quiet:
            typer.echo(text, err=True)

    if board and ssh:
        raise UsageError("--board is an emulated board and --ssh a real one.", "Give one of them.")
    if memory is not None and not board:
        raise UsageError("--memory is the RAM of an emulated board.", "Give --board too, such as --board cortex-a72.")
    if board:
        from edgebudget.measure.boards.emulated import EmulatedBoard
        from edgebudget.measure.boards.machine import Hardware

        return EmulatedBoard(Hardware(board, (memory or DEFAULT_MEMORY_MIB) << 20), tell)
    if ssh:
        from edgebudget.measure.boards.over_ssh import BoardOverSsh

        return BoardOverSsh(ssh, tell)
    from edgebudget.measure.this_machine import ThisMachine

    return ThisMachine()


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
