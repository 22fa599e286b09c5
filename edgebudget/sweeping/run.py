"""Units to finished units, wherever joblib runs them."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import fields, is_dataclass

from edgebudget import __version__
from edgebudget.errors import EdgeBudgetError, ModelError
from edgebudget.pipeline import Request
from edgebudget.sweeping.backends import Backend
from edgebudget.sweeping.plan import Unit
from edgebudget.sweeping.rows import COLUMNS, Finished
from edgebudget.sweeping.supervisor import POOL, Limits, run_unit

_BATCH_PER_JOB = 4  # units in flight for each job where results come a batch at a time


def run_units(
    units: Sequence[Unit], request: Request, limits: Limits, backend: Backend, address: str, jobs: int
) -> Iterator[Finished]:
    """Yield every unit as it finishes, in whatever order; each is worked out in a process that may die.

    Raises what `connect` raises, and ModelError where the cluster is lost.
    """
    import joblib

    try:
        with backend.connect(address, jobs):
            whole = len(units) if backend.streams else max(joblib.effective_n_jobs(), 1) * _BATCH_PER_JOB
            kind = "generator_unordered" if backend.streams else "list"
            for start in range(0, len(units), max(whole, 1)):
                parallel = joblib.Parallel(return_as=kind, batch_size=1, pre_dispatch="2*n_jobs")
                calls = (joblib.delayed(run_unit)(unit, request, limits) for unit in units[start : start + whole])
                yield from parallel(calls)
    except EdgeBudgetError:
        raise
    except Exception as error:
        raise ModelError(
            f"The backend broke: {type(error).__name__}: {' '.join(str(error).split())[:300]}.",
            "What is finished is kept: the same command goes on there.",
        ) from error
    finally:
        POOL.close()


def fingerprint(request: Request) -> Mapping[str, object]:
    """Return what rows depend on besides their unit: the same for the same request, in any process."""
    text = json.dumps(_plain(request), sort_keys=True)
    return {"edgebudget": __version__, "columns": list(COLUMNS), "request": hashlib.sha256(text.encode()).hexdigest()}


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Set):
        return sorted(map(str, value))
    return value if isinstance(value, bool | int | float | str | None) else str(value)
