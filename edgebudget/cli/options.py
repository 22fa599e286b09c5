"""Options that several commands share, and how their text is read."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgebudget.errors import UsageError
from edgebudget.units import parse_percent

if TYPE_CHECKING:
    from edgebudget.inputs import InputSpec
    from edgebudget.pipeline import Request

Models = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL...",
        help="torchvision name, package.module:factory, path/file.py:factory, path/model.pt2, or timm:NAME. "
        "Default: a suite of mobile models.",
        show_default=False,
    ),
]
Devices = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        metavar="D",
        help="Profile name, glob, 'all', path to a YAML, or 'here' for this machine; repeatable.",
    ),
]
Profiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--profiles",
        metavar="DIR",
        help="Folder of profiles to search first, before those in EDGEBUDGET_PROFILES; repeatable.",
        show_default=False,
    ),
]
Dtypes = Annotated[str, typer.Option("--dtype", metavar="LIST", help="Comma list, in the order to prefer them.")]
Runtimes = Annotated[
    str, typer.Option("--runtime", metavar="LIST", help="Comma list. Default: each device's own.", show_default=False)
]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="SPEC", help="Shape of one input, 1x3x224x224[:dtype]; repeatable, in order."),
]
Batch = Annotated[
    int | None, typer.Option("--batch", metavar="N", min=1, help="First dimension of every input.", show_default=False)
]
CalibrationName = Annotated[
    str | None,
    typer.Option("--calibration", metavar="NAME|PATH|none", help="Measurements to hold the estimate against."),
]
Headroom = Annotated[
    str, typer.Option("--headroom", metavar="PERCENT", help="Share of the budget to keep free on top.")
]
Jobs = Annotated[int, typer.Option("--jobs", metavar="N", min=1, help="Models to work on at a time.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print results only: no progress, no notes.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback where something fails.")]


def comma_list(text: str) -> tuple[str, ...]:
    """Return the names of `a,b,c`, each once, in order."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def build_request(
    devices: list[str] | None,
    dtypes: str,
    runtimes: str,
    inputs: list[str] | None = None,
    batch: int | None = None,
    calibration: str | None = None,
    headroom: str = "0",
    profiles: Sequence[Path] | None = None,
) -> "Request":
    """Return what the options ask for; raises UsageError, ProfileError or CalibrationError for what does not exist."""
    from edgebudget.calibration.store import load_calibrations
    from edgebudget.pipeline import Request, resolve_asked
    from edgebudget.profiles.folders import profile_folders

    if not devices:
        raise UsageError(
            "No device was named.", "Give --device raspberrypi, or see 'edgebudget devices list' for the others."
        )
    try:
        headroom_percent = parse_percent(headroom)
    except ValueError as error:
        raise UsageError(f"--headroom: {error}.") from None
    return Request(
        devices=resolve_asked(devices, profile_folders(profiles or ())),
        dtypes=comma_list(dtypes),
        runtimes=comma_list(runtimes),
        inputs=parse_inputs(inputs or []),
        batch=batch,
        calibrations=load_calibrations(calibration),
        headroom_percent=headroom_percent,
    )


def parse_inputs(texts: list[str]) -> "tuple[InputSpec, ...]":
    """Return the inputs that `--input` names; raises UsageError for what is not a shape."""
    from edgebudget.inputs import parse_input

    return tuple(parse_input(text) for text in texts)
