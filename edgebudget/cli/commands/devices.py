"""`edgebudget devices`: the profiles there are, what one says, and whether one is right."""

from pathlib import Path
from typing import Annotated

import typer

from edgebudget.cli import options
from edgebudget.cli.output import print_result


def register(app: typer.Typer) -> None:
    devices = typer.Typer(rich_markup_mode=None)
    devices.command("list", epilog="Example: edgebudget devices list 'raspberrypi*'")(list_devices)
    devices.command("show", epilog="Example: edgebudget devices show raspberrypi")(show)
    devices.command("lint", epilog="Example: edgebudget devices lint my-board.yaml")(lint)
    app.add_typer(devices, name="devices", help="List, show and check device profiles.")


def list_devices(
    patterns: Annotated[
        list[str] | None, typer.Argument(metavar="PATTERN...", help="Names or globs.", show_default=False)
    ] = None,
    debug: options.Debug = False,
) -> int:
    """List the devices that --device takes, with their RAM, budget and default runtime."""
    from edgebudget.profiles import resolve_devices
    from edgebudget.profiles.show import device_rows, list_text

    print_result(list_text(device_rows(resolve_devices(patterns or ["all"]))))
    return 0


def show(
    device: Annotated[str, typer.Argument(metavar="D", help="Profile name, alias, or path to a YAML.")],
    debug: options.Debug = False,
) -> int:
    """Show every figure of one device with its source."""
    from edgebudget.profiles import load_profile
    from edgebudget.profiles.show import detail_rows, show_text

    print_result(show_text(detail_rows(load_profile(device))))
    return 0


def lint(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH...", help="YAML files or folders. Default: the profiles in use.", show_default=False
        ),
    ] = None,
    debug: options.Debug = False,
) -> int:
    """Check profiles: schema, units, plausibility, sources. Exit code 2 where there is something to correct."""
    from edgebudget.profiles.folders import profile_folders
    from edgebudget.profiles.lint import lint_paths

    findings = lint_paths(paths or [folder.path for folder in profile_folders()])
    print_result("".join(f"{finding}\n" for finding in findings))
    return 2 if findings else 0
