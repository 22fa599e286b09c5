"""What a format of the timeline is: layouts in, the bytes of a file out."""

from collections.abc import Mapping
from typing import Protocol

from edgebudget.runtimes.interface import MemoryLayout


class TimelineFormat(Protocol):
    """One format. Registered by its file's name."""

    @property
    def name(self) -> str: ...

    @property
    def suffix(self) -> str:
        """What a file in this format ends with, with its dot."""
        ...

    def render(self, layouts: Mapping[str, MemoryLayout]) -> bytes:
        """Return the file that shows `layouts`, by title, one beside the other. Pure."""
        ...
