"""`extends`: a chain of files to one profile's data. The child wins, mappings merge, lists replace.

`sources` and `notes` add up, the child's first; a parent's source for a figure that the child gives itself is dropped.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from edgebudget.errors import ProfileError
from edgebudget.profiles.find import ProfileFile, find_parent
from edgebudget.profiles.folders import Folder
from edgebudget.profiles.parse import Document, Value

# What says which file this is, and so never passes to a child.
_OWN_KEYS = ("name", "aliases", "abstract", "extends")

# Lists that a child adds to: its own entries come first.
_APPENDED = ("sources", "notes")


@dataclass(frozen=True)
class Link:
    """One file of a chain and what stands in it."""

    file: ProfileFile
    document: Document


def read_chain(file: ProfileFile, folders: Sequence[Folder], check: Callable[[Link], None]) -> list[Link]:
    """Return the chain of files from `file` to the last one it extends, each read and passed to `check`; a parent
    stands beside its child or in `folders`.

    Raises ProfileError for a parent that is missing and for a loop, which it names.
    """
    chain: list[Link] = []
    current = file
    while True:
        link = Link(current, current.read())
        check(link)
        chain.append(link)
        parent = link.document.data.get("extends")
        if not isinstance(parent, str):
            return chain
        current = find_parent(parent, current, folders)
        if any(current.path == link.file.path for link in chain):
            names = [other.file.path.stem for other in chain] + [current.path.stem]
            raise ProfileError(
                f"{chain[0].document.path}: extends: goes round in a loop ({' -> '.join(names)}).",
                "Take 'extends' out of one of them.",
            )


def merge_chain(chain: list[Link]) -> Document:
    """Return the profile that a chain amounts to, at the path and places of its first file. Pure."""
    child = chain[0].document
    data = dict(child.data)
    for link in chain[1:]:
        inherited = {key: value for key, value in link.document.data.items() if key not in _OWN_KEYS}
        if isinstance(sources := inherited.get("sources"), list):
            inherited["sources"] = [source for source in sources if not _states(data, source)]
        lists: dict[str, Value] = {
            key: _appended(key, data, inherited) for key in _APPENDED if key in data or key in inherited
        }
        data = {**_merged(data, inherited), **lists}
    data.pop("extends", None)
    return replace(child, data=data)


def _merged(child: dict[str, Value], parent: dict[str, Value]) -> dict[str, Value]:
    merged = {**parent, **child}
    for key in child.keys() & parent.keys():
        ours, theirs = child[key], parent[key]
        if isinstance(ours, dict) and isinstance(theirs, dict):
            merged[key] = _merged(ours, theirs)
    return merged


def _appended(key: str, child: dict[str, Value], parent: dict[str, Value]) -> list[Value]:
    ours, theirs = child.get(key, []), parent.get(key, [])
    return (ours if isinstance(ours, list) else []) + (theirs if isinstance(theirs, list) else [])


def _states(data: dict[str, Value], source: Value) -> bool:
    """Whether `data` gives the figure itself that `source` is about: then an inherited source says nothing about it."""
    field = source.get("field") if isinstance(source, dict) else None
    value: Value = data
    for part in field.split(".") if isinstance(field, str) else ():
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return field is not None
