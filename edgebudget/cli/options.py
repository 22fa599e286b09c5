"""Options that several commands share, and how their text is read."""

from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgebudget.cli import completion
from edgebudget.errors import UsageError
from edgebudget.units import parse_percent

if TYPE_CHECKING:
    from edgebudget.inputs import InputSpec
    from edgebudget.pipeline import Request
    from edgebudget.settings import Settings

MODEL_KINDS = "torchvision name, package.module:factory, path/file.py:factory, path/model.pt2, or timm:NAME."

Models = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL...",
        help=f"{MODEL_KINDS} Default: those of edgebudget.yaml, else a suite of mobile models.",
        show_default=False,
        autocompletion=completion.models,
    ),
]
Devices = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        metavar="D",
        help="Profile name, glob, 'all', path to a YAML, or 'here' for this machine; repeatable.",
        autocompletion=completion.devices,
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
Dtypes = Annotated[
    str,
    typer.Option(
        "--dtype",
        metavar="LIST",
        help="Comma list, in the order to prefer them. Default: float32,float16,int8.",
        show_default=False,
        autocompletion=completion.dtypes,
    ),
]
Runtimes = Annotated[
    str,
    typer.Option(
        "--runtime",
        metavar="LIST",
        help="Comma list. Default: each device's own.",
        show_default=False,
        autocompletion=completion.runtimes,
    ),
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
    str,
    typer.Option(
        "--headroom",
        metavar="PERCENT",
        help="Share of the budget to keep free on top. Default: none.",
        show_default=False,
    ),
]
Jobs = Annotated[int, typer.Option("--jobs", metavar="N", min=1, help="Models to work on at a time.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print results only: no progress, no notes.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback where something fails.")]


def comma_list(text: str) -> tuple[str, ...]:
    """Return the names of `a,b,c`, each once, in order."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def repository_settings(quiet: bool, profiles: Sequence[Path] | None = None) -> "Settings":
    """Return the settings found from the working directory upward, and say on stderr which file they stand in.

    Their devices may lie in the folders `profiles`. Raises SettingsError for a file that is not valid.
    """
    from edgebudget.settings import load_settings

    settings = load_settings(Path.cwd(), profiles or ())
    if settings.path is not None and not quiet:
        typer.echo(f"edgebudget: settings of {settings.path}", err=True)
    return settings


@contextmanager
def chosen(models: Sequence[str] | None, settings: "Settings") -> Iterator[Sequence[str]]:
    """Give the models to work on, in the folder that their references are seen from: those named, else those of
    `settings`, else a suite of mobile models."""
    from edgebudget.suite import MOBILE_SUITE

    with chdir(settings.folder) if settings.models and not models else nullcontext():
        yield models or settings.models or MOBILE_SUITE


def build_request(
    devices: list[str] | None,
    dtypes: str,
    runtimes: str,
    inputs: list[str] | None = None,
    batch: int | None = None,
    calibration: str | None = None,
    headroom: str = "",
    profiles: Sequence[Path] | None = None,
    settings: "Settings | None" = None,
) -> "Request":
    """Return what the options ask for, and `settings` where they say nothing; raises UsageError, ProfileError or
    CalibrationError for what does not exist."""
    from edgebudget.calibration.store import load_calibrations
    from edgebudget.pipeline import DEFAULT_DTYPES, Request, resolve_asked
    from edgebudget.profiles.folders import profile_folders
    from edgebudget.settings import NO_SETTINGS

    settings = settings or NO_SETTINGS
    asked = devices or settings.devices
    if not asked:
        raise UsageError(
            "No device was named.",
            "Give --device raspberrypi, name devices in edgebudget.yaml, or see 'edgebudget devices list'.",
        )
    return Request(
        devices=resolve_asked(asked, profile_folders((*(profiles or ()), *settings.profiles))),
        dtypes=comma_list(dtypes) if dtypes else settings.dtypes or DEFAULT_DTYPES,
        runtimes=comma_list(runtimes) if runtimes else settings.runtimes,
        inputs=parse_inputs(inputs or []),
        batch=batch,
        calibrations=load_calibrations(calibration),
        headroom_percent=percent("--headroom", headroom) if headroom else settings.headroom_percent or 0.0,
    )


def percent(option: str, text: str) -> float:
    """Return the percentage given to `option`; raises UsageError."""
    try:
        return parse_percent(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}.") from None


def parse_inputs(texts: list[str]) -> "tuple[InputSpec, ...]":
    """Return the shapes given to `--input`; raises UsageError."""
    from edgebudget.inputs import parse_input

    return tuple(parse_input(text) for text in texts)
