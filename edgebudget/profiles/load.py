"""Profiles by name, alias, glob or path, and this machine's: find, read, resolve `extends`, validate, convert."""

from collections.abc import Sequence

from edgebudget.errors import ProfileError
from edgebudget.profiles.convert import to_profile
from edgebudget.profiles.find import ProfileFile, all_files, find_devices, is_abstract
from edgebudget.profiles.folders import Folder, profile_folders
from edgebudget.profiles.interface import DeviceProfile
from edgebudget.profiles.parse import Document, dotted, parse_profile
from edgebudget.profiles.resolve import Link, merge_chain, read_chain
from edgebudget.profiles.rules import file_problems
from edgebudget.profiles.schema import Problem, schema_problems

HERE = "here"
"""The name that always stands for the machine this runs on."""


def load_profile(name_or_path: str, folders: Sequence[Folder] | None = None) -> DeviceProfile:
    """Return the profile with this name or alias, in the .yaml file at this path, or, for `here`, of this machine.

    Raises UnknownNameError with the nearest names, UsageError for a path that is no profile, and ProfileError, which
    starts with the file and the field, for a profile that is not valid.
    """
    if name_or_path == HERE:
        return load_here()
    folders = profile_folders() if folders is None else folders
    files = find_devices(name_or_path, folders)
    if len(files) != 1 or name_or_path == "all":
        raise ProfileError(f"{name_or_path!r} stands for {len(files)} devices; name one.")
    return load_file(files[0], folders)


def profile_names(folders: Sequence[Folder] | None = None) -> list[str]:
    """Return the names of all devices, sorted, without aliases and without abstract profiles."""
    folders = profile_folders() if folders is None else folders
    return [file.path.stem for file in all_files(folders) if not is_abstract(file.read())]


def resolve_devices(patterns: Sequence[str], folders: Sequence[Folder] | None = None) -> list[DeviceProfile]:
    """Return the profiles that the patterns stand for, in their order, each once.

    A pattern is a name, an alias, `all`, a glob over names, a path to a YAML file, or `here`, which is this machine.
    `folders` are those to search, by default those in use. Raises as `load_profile` does.
    """
    folders = profile_folders() if folders is None else folders
    files: dict[ProfileFile | None, None] = {}
    for pattern in patterns:
        files |= dict.fromkeys([None] if pattern == HERE else find_devices(pattern, folders))
    return [load_here() if file is None else load_file(file, folders) for file in files]


def load_here() -> DeviceProfile:
    """Return the profile of the machine this runs on; raises UsageError where it cannot be read."""
    # Imported here: it writes YAML and starts processes, which no other device needs.
    from edgebudget.machine.here import read_machine
    from edgebudget.machine.profile import profile_text

    document = parse_profile(profile_text(read_machine(), HERE), "this machine")
    _refuse(document, schema_problems(document.data))
    return to_profile(document.data)


def load_file(file: ProfileFile, folders: Sequence[Folder]) -> DeviceProfile:
    """Return the profile in `file`, whose parents may stand in `folders`; raises ProfileError.

    Files of users are held to the schema here. Those that ship with the package are held to it by the tests, and here
    only where they cannot be converted, because validating costs more than all the rest.
    """
    chain = read_chain(file, folders, _check)
    document = merge_chain(chain)
    if is_abstract(document):
        variants = [name for name in profile_names(folders) if name.startswith(file.path.stem)]
        raise ProfileError(
            f"{document.path}: abstract: this is only a start for other profiles, not a device.",
            f"Name one of: {', '.join(variants)}." if variants else "Name one that 'edgebudget devices list' shows.",
        )
    if all(link.file.shipped for link in chain):
        try:
            return to_profile(document.data)
        except (KeyError, TypeError, ValueError):
            for link in chain:
                _refuse(link.document, _problems(link))
    _refuse(document, schema_problems(document.data))
    return to_profile(document.data)


def _check(link: Link) -> None:
    if not link.file.shipped:
        _refuse(link.document, _problems(link))


def _problems(link: Link) -> list[Problem]:
    return schema_problems(link.document.data) + file_problems(link.document.data, link.file.path.stem)


def _refuse(document: Document, problems: list[Problem]) -> None:
    """Raise the first of `problems`: what is wrong in the order of the file, then what is missing."""
    if not problems:
        return
    first = min(problems, key=lambda problem: (problem.field not in document.places, document.place(problem.field)))
    more = f"{len(problems) - 1} more: edgebudget devices lint {document.path}" if len(problems) > 1 else ""
    stop = "" if first.message.endswith("?") else "."
    raise ProfileError(f"{document.path}: {dotted(first.field)}: {first.message}{stop}", more)
