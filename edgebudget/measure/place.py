"""Where workers run: on this machine, on an emulated board, on a board over ssh."""

from contextlib import AbstractContextManager
from typing import Protocol

from edgebudget.measure.interface import Backend, Board, Observation, Provenance
from edgebudget.measure.preparation import Prepared


class Place(AbstractContextManager["Place", None], Protocol):
    """One machine that workers run on, one process at a time. Entering it makes it ready, leaving it stops all."""

    @property
    def board(self) -> Board | None:
        """What stands in the provenance of its measurements, known once it is entered; None for this machine."""
        ...

    def require(self, backend: Backend) -> None:
        """Raise EdgeBudgetError where the place can never run the backend."""
        ...

    def observe(self, backend: Backend, prepared: Prepared) -> Observation:
        """Run the worker in fresh processes, as many as the backend asks for; raise MeasurementError when one gives no
        observation."""
        ...

    def provenance(self, backend: Backend) -> Provenance:
        """Return where and with what the last observation was made."""
        ...
