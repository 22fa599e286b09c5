"""A Dask cluster: `--address tcp://HOST:8786`. A model whose worker is lost is done again by another."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edgebudget.errors import MissingExtraError, UsageError

CONNECT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class _Dask:
    streams: bool = True

    @contextmanager
    def connect(self, address: str, jobs: int) -> Iterator[None]:
        """Within: as many models at a time as the cluster has threads."""
        import joblib

        try:
            from distributed import Client
        except ImportError:
            raise MissingExtraError("distributed", "dask", "--backend dask") from None
        if not address:
            raise UsageError("No scheduler was named.", "Give --address tcp://HOST:8786.")
        try:
            client = Client(address, timeout=CONNECT_SECONDS)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"No Dask scheduler answers at {address[:200]!r}: {' '.join(str(error).split())[:200]}.",
                "Start one with 'dask scheduler', and workers that have edgebudget installed.",
            ) from error
        with client, joblib.parallel_config(backend="dask", n_jobs=-1):
            yield


BACKEND = _Dask()
