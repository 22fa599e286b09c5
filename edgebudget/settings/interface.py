"""The settings of a repository."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """What a settings file says; empty or None where it says nothing, and the command line wins over all of it.

    `path` is the file as messages show it, None without one. `models` are references as seen from `folder`; devices
    and dtypes that are paths can be opened from the working directory, and so can `profiles` and `baseline`.
    """

    folder: Path
    path: str | None = None
    models: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    profiles: tuple[Path, ...] = ()
    dtypes: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    headroom_percent: float | None = None
    allow_marginal: bool = False
    baseline: Path | None = None
    max_growth_percent: float | None = None


NO_SETTINGS = Settings(Path())
