"""The program's commands, found by file: `commands/check.py` defines `register`, so `edgebudget check` exists."""

from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from edgebudget import __version__
from edgebudget.registry import Registry

COMMANDS: Registry[Callable[[typer.Typer], None]] = Registry("edgebudget.cli.commands", "register", "command")


def build_app(arguments: Sequence[str] = ()) -> typer.Typer:
    """Return the program with every registered command, or only the one that `arguments` name.

    Building a command's options takes longer than all else that a command without a model does.
    """
    # Plain help: the marked-up one costs a third of the time that `--help` may take.
    app = typer.Typer(
        name="edgebudget",
        help="Estimate the memory a PyTorch model takes on an edge device, and say GO, MARGINAL or NO-GO.",
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback(epilog="Example: edgebudget check mobilenet_v2 --device raspberrypi")(_program)
    named = next((argument for argument in arguments if not argument.startswith("-")), "")
    for name in [named] if named in COMMANDS.names() else COMMANDS.names():
        COMMANDS.get(name)(app)
    return app


def _version(asked: bool) -> None:
    if asked:
        print(f"edgebudget {__version__}")
        raise typer.Exit


def _program(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    pass
