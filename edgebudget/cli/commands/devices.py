"""`edgebudget devices`: the profiles there are, what one says, whether one is right, and the one of this machine."""

from pathlib import Path
from typing import Annotated

import typer

from edgebudget.cli import options
from edgebudget.cli.output import prepare_folder, print_result, write_files
from edgebudget.errors import UsageError


def register(app: typer.Typer) -> None:
    devices = typer.Typer(rich_markup_mode=None)
    devices.command("list", epilog="Example: edgebudget devices list 'raspberrypi*'")(list_devices)
    devices.command("show", epilog="Example: edgebudget devices show raspberrypi --format html --out board.html")(show)
    devices.command("lint", epilog="Example: edgebudget devices lint my-board.yaml")(lint)
    devices.command("here", epilog="Example: edgebudget devices here --out my-machine.yaml")(here)
    app.add_typer(devices, name="devices", help="List, show and check device profiles.")


def list_devices(
    patterns: Annotated[
        list[str] | None, typer.Argument(metavar="PATTERN...", help="Names or globs.", show_default=False)
    ] = None,
    profiles: options.Profiles = None,
    debug: options.Debug = False,
) -> int:
    """List the devices that --device takes, with their RAM, budget and default runtime."""
    from edgebudget.profiles import resolve_devices
    from edgebudget.profiles.folders import profile_folders
    from edgebudget.profiles.show import device_rows, list_text

    found = resolve_devices(patterns or ["all"], profile_folders(profiles or ()))
    print_result(list_text(device_rows(found)))
    return 0


def show(
    device: Annotated[str, typer.Argument(metavar="D", help="Profile name, alias, path to a YAML, or 'here'.")],
    profiles: options.Profiles = None,
    format: Annotated[str, typer.Option("--format", metavar="FORMAT", help="text or html.")] = "text",
    out: Annotated[str, typer.Option("--out", metavar="FILE|-", help="File to write; - is stdout.")] = "-",
    debug: options.Debug = False,
) -> int:
    """Show every figure of one device with its source and how sure it is."""
    from edgebudget.profiles import load_profile
    from edgebudget.profiles.folders import profile_folders
    from edgebudget.profiles.show import RENDERERS

    if format not in RENDERERS:
        raise UsageError(f"Unknown format {format[:80]!r}.", f"Use one of {', '.join(RENDERERS)}.")
    _deliver(RENDERERS[format](load_profile(device, profile_folders(profiles or ()))), out)
    return 0


def lint(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH...", help="YAML files or folders. Default: the profiles in use.", show_default=False
        ),
    ] = None,
    profiles: options.Profiles = None,
    debug: options.Debug = False,
) -> int:
    """Check profiles: schema, units, plausibility, sources. Exit code 2 where there is something to correct."""
    from edgebudget.profiles.folders import profile_folders
    from edgebudget.profiles.lint import lint_paths

    folders = profile_folders(profiles or ())
    findings = lint_paths(paths or [folder.path for folder in folders], folders)
    print_result("".join(f"{finding}\n" for finding in findings))
    return 2 if findings else 0


def here(
    out: Annotated[
        str, typer.Option("--out", metavar="FILE.yaml|-", help="File to write, which also names it; - is stdout.")
    ] = "-",
    debug: options.Debug = False,
) -> int:
    """Write the profile of this machine: its RAM and limits, cores, GPU and storage, as they are now.

    `--device here` uses the same without writing it.
    """
    from edgebudget.machine.here import read_machine
    from edgebudget.machine.profile import profile_text
    from edgebudget.profiles.folders import SUFFIXES
    from edgebudget.profiles.load import HERE

    if out != "-" and not out.endswith(SUFFIXES):
        raise UsageError(f"{out[:200]!r} is no name for a profile.", "End it in .yaml, as in --out my-machine.yaml.")
    _deliver(profile_text(read_machine(), HERE if out == "-" else Path(out).stem), out)
    return 0


def _deliver(text: str, out: str) -> None:
    if out == "-":
        print_result(text)
        return
    prepare_folder(Path(out).parent)
    write_files({Path(out): text})
