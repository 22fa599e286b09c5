"""What a format is: a report in, text out. Only the command line opens files."""

from typing import Protocol

from edgebudget.report import Report


class Reporter(Protocol):
    """One format. Registered by its file's name."""

    @property
    def name(self) -> str: ...

    @property
    def suffix(self) -> str:
        """What a file in this format ends with, with its dot: `.json`."""
        ...

    def render(self, report: Report) -> str:
        """Return `report` in this format, ending with a newline. Pure."""
        ...
