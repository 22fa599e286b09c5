"""One model in several processes, where a runtime's processes differ: on every place in the same way."""

from collections.abc import Sequence
from dataclasses import replace

from edgebudget.measure.interface import Backend, Observation

NAME_STEP = 20
"""Characters by which the names differ that further processes know the file by."""


def further_names(backend: Backend, suffix: str) -> tuple[str, ...]:
    """Return by which names the processes after the first load the same file, in the order they run.

    Already the length of a path decides which small blocks a process has before the model, and with them which of the
    holes between large ones malloc can join.
    """
    return tuple("m" * (NAME_STEP * repeat) + suffix for repeat in range(1, backend.processes))


def joined(observations: Sequence[Observation]) -> Observation:
    """Return the first observation with the process peaks of the others, in their order."""
    first, *others = observations
    return replace(first, repeats=tuple(peaks for other in others for peaks in other.process_peaks))
