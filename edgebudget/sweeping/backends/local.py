"""This machine: threads, each with a process of its own to watch over."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edgebudget.errors import UsageError


@dataclass(frozen=True, slots=True)
class _Local:
    streams: bool = True

    @contextmanager
    def connect(self, address: str, jobs: int) -> Iterator[None]:
        """Within: `jobs` models at a time."""
        import joblib

        if address:
            raise UsageError("--address is a cluster's.", "Give --backend dask or ray with it, or leave it out.")
        with joblib.parallel_config(backend="threading", n_jobs=jobs):
            yield


BACKEND = _Local()
