"""A place to run: all of them through joblib, so that the sweep is the same code everywhere."""

from contextlib import AbstractContextManager
from typing import Protocol


class Backend(Protocol):
    """A backend of joblib. Registered by its file's name."""

    @property
    def streams(self) -> bool:
        """Whether joblib hands over each result there as it comes, and not only a batch at a time."""
        ...

    def connect(self, address: str, jobs: int) -> AbstractContextManager[None]:
        """Within: `joblib.Parallel` runs there. `address` is a cluster's, `jobs` counts on this machine alone.

        Raises MissingExtraError, or UsageError where nothing answers.
        """
        ...
