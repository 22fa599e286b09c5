"""What a format of the layer table is: inspections in, text out. Only the command line opens files."""

from collections.abc import Sequence
from typing import Protocol

from edgebudget.inspection.layers import Inspection
from edgebudget.inspection.rows import Selection


class LayerFormat(Protocol):
    """One format. Registered by its file's name in `formats/`."""

    @property
    def name(self) -> str: ...

    @property
    def suffix(self) -> str:
        """What a file in this format ends with, with its dot: `.csv`."""
        ...

    def render(self, inspections: Sequence[Inspection], selection: Selection) -> str:
        """Return the models' layers in this format, ending with a newline. Pure."""
        ...
