"""From the working directory upward to the nearest `edgebudget.yaml`, or `pyproject.toml` with `[tool.edgebudget]`."""

from collections.abc import Sequence
from pathlib import Path

from edgebudget.errors import SettingsError
from edgebudget.profiles.folders import display_path
from edgebudget.settings.convert import to_settings
from edgebudget.settings.interface import Settings
from edgebudget.settings.read import read_toml, read_yaml

YAML_NAME = "edgebudget.yaml"
TOML_NAME = "pyproject.toml"


def load_settings(start: Path, profiles: Sequence[Path] = ()) -> Settings:
    """Return the settings for work in the folder `start`; empty ones where nothing at or above it has any.

    `profiles` are folders that may hold their devices, beside those that they name and those always searched.

    Raises SettingsError, which starts with the file, the line and the key, for what is not valid.
    """
    for folder in (start, *start.parents):
        own, shared = folder / YAML_NAME, folder / TOML_NAME
        table = read_toml(shared, display_path(shared)) if shared.is_file() else None
        if own.is_file():
            if table is not None:
                raise SettingsError(
                    f"{display_path(own)} and [tool.edgebudget] in {display_path(shared)} both hold settings.",
                    "Keep one of them.",
                )
            return to_settings(read_yaml(own, display_path(own)), folder, profiles)
        if table is not None:
            return to_settings(table, folder, profiles)
    return Settings(start)
