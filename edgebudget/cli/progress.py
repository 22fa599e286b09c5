"""Progress on stderr, where a person is watching."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout

from edgebudget.printable import one_line


@contextmanager
def progress(total: int, *, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Give a function to call with the name of each of `total` models when it is done.

    A bar on stderr if that is a terminal and `quiet` is not asked for. What models print meanwhile goes to stderr:
    stdout is for results.
    """
    with redirect_stdout(sys.stderr):
        if quiet or not sys.stderr.isatty():
            yield lambda name: None
            return
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("estimating", total=total)

            def done(name: str) -> None:
                bar.update(task, advance=1, description=escape(one_line(name[:40])))

            yield done
