"""Where profiles lie: the folders that a user names first, then the profiles that ship with the package."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgebudget.errors import ProfileError
from edgebudget.profiles.parse import MAX_TEXT_BYTES, Place, UnreadableProfileError, too_long

ENVIRONMENT_VARIABLE = "EDGEBUDGET_PROFILES"
SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of profiles. The `shipped` one is held to the schema by the tests, so reading it need not be."""

    path: Path
    shipped: bool

    def files(self) -> dict[str, Path]:
        """Return the files here by name (their stem), sorted; raises ProfileError where the folder is gone."""
        try:
            entries = sorted(entry.name for entry in os.scandir(self.path) if entry.is_file())
        except OSError as error:
            raise ProfileError(
                f"The profile folder {str(self.path)!r} cannot be read: {error.strerror}.",
                f"Name existing folders with --profiles and in {ENVIRONMENT_VARIABLE}, or none.",
            ) from None
        paths = [self.path / name for name in entries if name.endswith(SUFFIXES) and not name.startswith(".")]
        return {path.stem: path for path in sorted(paths, key=lambda path: path.stem)}


def profile_folders(named: Sequence[Path] = (), environment: Mapping[str, str] = os.environ) -> tuple[Folder, ...]:
    """Return the folders to search, first match wins: those `named`, those in EDGEBUDGET_PROFILES, the shipped one."""
    variable = [Path(part) for part in environment.get(ENVIRONMENT_VARIABLE, "").split(os.pathsep) if part]
    return (*(Folder(path, shipped=False) for path in (*named, *variable)), Folder(_shipped_folder(), shipped=True))


def read_text(path: Path) -> str:
    """Return a profile's text; raises ProfileError where it cannot be read, is not UTF-8, or is far too large."""
    shown = display_path(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise ProfileError(f"{shown}: cannot be read: {error.strerror}.", "Name an existing, readable file.") from None
    if len(content) > MAX_TEXT_BYTES:
        raise too_long(shown)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnreadableProfileError(shown, Place(line, 1), "not UTF-8 text; save the file as UTF-8") from None


def display_path(path: Path) -> str:
    """Return `path` as a message shows it: relative to the working folder where it lies below it."""
    here = os.path.join(os.getcwd(), "")
    absolute = os.path.abspath(path)
    return absolute[len(here) :] if absolute.startswith(here) else str(path)


def _shipped_folder() -> Path:
    package = Path(__file__).resolve().parents[1]
    packaged = package / "device_profiles"
    return packaged if packaged.is_dir() else package.parent / "device_profiles"
