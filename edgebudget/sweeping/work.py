"""One unit, in this process."""

from dataclasses import replace

from edgebudget.pipeline import Request, check_model
from edgebudget.report import ReportError
from edgebudget.sweeping.plan import Unit
from edgebudget.sweeping.rows import Failure, Finished, estimated, failed

# How Python, torch and C++ say that there is no more memory.
_OUT_OF_MEMORY = ("MemoryError", "can't allocate memory", "Cannot allocate memory", "std::bad_alloc", "out of memory")


def work(unit: Unit, request: Request) -> Finished:
    """Return the rows of `unit` under `request`; a model that cannot be estimated is one row with its reason."""
    outcome = check_model(unit.model, replace(request, image_size=unit.resolution.size))
    if not isinstance(outcome, ReportError):
        return estimated(unit, outcome.results)
    failure = Failure.MEMORY if tells_of_memory(outcome.message) else Failure.NOT_ESTIMATED
    return failed(unit, failure, outcome.message, outcome.hint)


def tells_of_memory(text: str) -> bool:
    """Whether a message says that memory ran out."""
    return any(word in text for word in _OUT_OF_MEMORY)
