"""A Ray cluster: `--address HOST:6379`, or `auto` on one of its machines."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edgebudget.errors import MissingExtraError, UsageError


@dataclass(frozen=True, slots=True)
class _Ray:
    streams: bool = False

    @contextmanager
    def connect(self, address: str, jobs: int) -> Iterator[None]:
        """Within: as many models at a time as the cluster has processors."""
        import joblib

        try:
            import ray
            from ray.util.joblib import register_ray
        except ImportError:
            raise MissingExtraError("ray", "ray", "--backend ray") from None
        if not address:
            raise UsageError("No cluster was named.", "Give --address HOST:6379, or auto on one of its machines.")
        try:
            ray.init(address=address, log_to_driver=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"No Ray cluster answers at {address[:200]!r}: {' '.join(str(error).split())[:200]}.",
                "Start one with 'ray start --head', on machines that have edgebudget installed.",
            ) from error
        try:
            register_ray()
            with joblib.parallel_config(backend="ray", n_jobs=-1):
                yield
        finally:
            ray.shutdown()


BACKEND = _Ray()
