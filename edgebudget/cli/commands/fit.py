"""`edgebudget fit`: what would make a model fit a device?"""

from typing import Annotated

import typer

from edgebudget.cli import options
from edgebudget.cli.output import print_result


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: edgebudget fit vgg16 --device raspberrypi-zero-2-w")(fit)


def fit(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="As for check.")],
    device: options.Devices = None,
    profiles: options.Profiles = None,
    dtype: Annotated[str, typer.Option("--dtype", metavar="NAME", help="The option to start from.")] = "float32",
    runtime: Annotated[
        str,
        typer.Option("--runtime", metavar="NAME", help="The runtime to start from. Default: the device's own."),
    ] = "",
    input: options.Inputs = None,
    batch: options.Batch = None,
    calibration: options.CalibrationName = None,
    headroom: options.Headroom = "0",
    debug: options.Debug = False,
) -> int:
    """Propose what would make a model fit a device, each change estimated anew, the cheapest first.

    Where it fits as it is, says the largest input that still does. Exit code 0: it fits, or some proposal does; 1:
    nothing does, and by how many bytes the nearest fails; 2: wrong usage, or a model that could not be estimated.
    """
    from edgebudget.errors import UsageError
    from edgebudget.fitting._search import advise
    from edgebudget.fitting._text import render
    from edgebudget.fitting.interface import Case
    from edgebudget.runtimes import RUNTIMES

    request = options.build_request(device, dtype, runtime, input, batch, calibration, headroom, profiles)
    if len(request.devices) != 1 or len(request.dtypes) != 1 or len(request.runtimes) > 1:
        raise UsageError(
            "fit takes one device, one dtype and one runtime to start from.", "Name one each; it tries the others."
        )
    profile = request.devices[0]
    start = request.runtimes[0] if request.runtimes else profile.default_runtime
    RUNTIMES.get(start)

    from edgebudget.sources import load_model
    from edgebudget.tracing import trace

    loaded = load_model(model, request.inputs, request.batch)
    graph = trace(loaded.module, loaded.args, loaded.kwargs, name=loaded.name, allow_truncation=loaded.allow_truncation)
    case = Case(model, loaded, graph, profile, start, request.dtypes[0], request.calibrations, request.headroom_percent)
    advice = advise(case)
    print_result(render(advice))
    return 0 if advice.fits else 1
