"""From what a user writes after `--device` to the files that hold the profiles."""

import fnmatch
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgebudget.errors import ProfileError, UsageError
from edgebudget.profiles.folders import SUFFIXES, Folder, display_path, read_text
from edgebudget.profiles.parse import Document, parse_profile
from edgebudget.registry import unknown_name

_NAME = re.compile(r"[a-z0-9][a-z0-9._+-]*")


@dataclass(frozen=True, slots=True)
class ProfileFile:
    """A file that holds a profile, and whether it shipped with the package."""

    path: Path
    shipped: bool

    def read(self) -> Document:
        """Return what stands in the file; raises ProfileError."""
        return parse_profile(read_text(self.path), display_path(self.path))


def all_files(folders: Sequence[Folder]) -> list[ProfileFile]:
    """Return every profile file, abstract ones too, one a name: the first folder that has it wins."""
    found: dict[str, ProfileFile] = {}
    for folder in folders:
        for name, path in folder.files().items():
            found.setdefault(name, ProfileFile(path, folder.shipped))
    return [found[name] for name in sorted(found)]


def find_name(name: str, folders: Sequence[Folder]) -> ProfileFile:
    """Return the file of the profile that has `name` as its name or alias.

    A name is only ever compared with what the folders list: it never becomes a path. Raises UnknownNameError with the
    nearest names, and ProfileError where two profiles of one folder own the alias.
    """
    for folder in folders:
        files = folder.files()
        if name in files:
            return ProfileFile(files[name], folder.shipped)
        # The alias has to stand as a word in the file's text, and reading text costs a tenth of parsing it.
        word = re.compile(rf"(?<![\w.+-]){re.escape(name)}(?![\w.+-])")
        mentions = [ProfileFile(path, folder.shipped) for path in files.values() if word.search(read_text(path))]
        owners = [file for file in mentions if name in aliases(file.read())]
        if len(owners) > 1:
            shown = " and ".join(display_path(owner.path) for owner in owners)
            raise ProfileError(f"{shown}: aliases: both own the alias {name!r}; take it out of one of them.")
        if owners:
            return owners[0]
    documents = [file.read() for file in all_files(folders)]
    known = [Path(doc.path).stem for doc in documents if not is_abstract(doc)]
    raise unknown_name("device", name, known + [alias for doc in documents for alias in aliases(doc)])


def find_parent(name: str, child: ProfileFile, folders: Sequence[Folder]) -> ProfileFile:
    """Return the profile that `child` extends: beside it, or in the folders; raises ProfileError."""
    for suffix in SUFFIXES if _NAME.fullmatch(name) else ():
        beside = child.path.parent / f"{name}{suffix}"
        if beside.is_file():
            return ProfileFile(beside, child.shipped)
    try:
        return find_name(name, folders)
    except UsageError as error:
        raise ProfileError(f"{display_path(child.path)}: extends: no profile is called {name!r}.", error.hint) from None


def find_devices(pattern: str, folders: Sequence[Folder]) -> list[ProfileFile]:
    """Return the files of the devices that one `--device` asks for.

    `pattern` is a name, an alias, `all`, a glob over names, or a path to a YAML file. Raises UsageError or
    UnknownNameError where nothing fits, ProfileError where a profile cannot be read.
    """
    if pattern == "all":
        return [file for file in all_files(folders) if not is_abstract(file.read())]
    if pattern.endswith(SUFFIXES) or "/" in pattern or os.sep in pattern or "\0" in pattern:
        return [_file_at(pattern)]
    if any(character in pattern for character in "*?["):
        matching = [file for file in all_files(folders) if fnmatch.fnmatchcase(file.path.stem, pattern)]
        devices = [file for file in matching if not is_abstract(file.read())]
        if not devices:
            raise UsageError(
                f"No device's name matches {pattern[:200]!r}.", "See the names with: edgebudget devices list"
            )
        return devices
    return [find_name(pattern, folders)]


def aliases(document: Document) -> list[str]:
    """Return the aliases a file gives itself, whatever else is wrong with it."""
    listed = document.data.get("aliases")
    return [alias for alias in listed if isinstance(alias, str)] if isinstance(listed, list) else []


def is_abstract(document: Document) -> bool:
    """Return whether a file is only a start for others."""
    return document.data.get("abstract") is True


def _file_at(pattern: str) -> ProfileFile:
    if not pattern.endswith(SUFFIXES):
        raise UsageError(
            f"Device {pattern[:200]!r} looks like a path, but not like one to a profile.",
            "Give a device's name (see: edgebudget devices list) or the path to a .yaml or .yml file.",
        )
    path = Path(pattern)
    if "\0" in pattern or not path.is_file():
        raise UsageError(
            f"Device profile {pattern[:200]!r} is not an existing file.",
            "Give the path to a .yaml file, or a device's name (see: edgebudget devices list).",
        )
    return ProfileFile(path, shipped=False)
