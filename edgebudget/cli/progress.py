"""Progress on stderr, where a person is watching."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TypeVar

from edgebudget.printable import one_line

T = TypeVar("T")

SHOWN = 30
"""How much of a name leaves room for the bar and the time left in 80 columns."""


@contextmanager
def progress(what: str, total: int, *, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Give a function to call with the name of each of `total` pieces of work when it is done, as `bar` does.

    What models print meanwhile goes to stderr: stdout is for results.
    """
    with redirect_stdout(sys.stderr), bar(what, total, quiet=quiet) as done:
        yield done


@contextmanager
def bar(what: str, total: int, *, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Give a function to call with the name of each of `total` pieces of work when it is done.

    A bar on stderr, with what was done last and the time left, if that is a terminal and `quiet` is not asked for.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda name: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    # Results that stream to stdout pass by the bar untouched, unless both stand in one terminal: then above it.
    watched = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty())
    with watched:
        task = watched.add_task(escape(what), total=total)

        def done(name: str) -> None:
            watched.update(task, advance=1, description=f"{escape(what)}: {escape(one_line(name[:SHOWN]))}")

        yield done


def followed(items: Iterable[T], name: Callable[[T], str], done: Callable[[str], None]) -> Iterator[T]:
    """Yield `items`, and tell `done` the name of each when the next one is asked for: then its work is over."""
    for item in items:
        yield item
        done(name(item))
