"""Settings files as plain data with the place of every key."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from edgebudget.errors import SettingsError
from edgebudget.profiles.parse import Document, Field, Place, UnreadableProfileError, Value, parse_mapping

_HEADER = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(#.*)?$")
_KEY = re.compile(r"""\s*(["'\w][\w."'-]*)\s*=""")
_TABLE = ("tool", "edgebudget")


def read_yaml(path: Path, shown: str) -> Document:
    """Return what stands in a file of settings alone; raises SettingsError."""
    try:
        return parse_mapping(_text(path, shown), shown, "this is no mapping of keys to values; write 'models: [...]'")
    except UnreadableProfileError as error:
        raise SettingsError(f"{shown}:{error.place.line}: {error.problem}.") from None


def read_toml(path: Path, shown: str) -> Document | None:
    """Return the table of settings in a `pyproject.toml`, None where it has none; raises SettingsError."""
    text = _text(path, shown)
    if not re.search(r"edgebudget", text):
        return None
    try:
        table = tomllib.loads(text).get("tool", {}).get("edgebudget")
    except (tomllib.TOMLDecodeError, AttributeError, RecursionError) as error:
        raise SettingsError(f"{shown}: not valid TOML: {error}.", "Correct the syntax there.") from None
    if table is None:
        return None
    places = dict(_places(text))
    if not isinstance(table, dict):
        line = places.get((), Place(1, 1)).line
        raise SettingsError(f"{shown}:{line}: tool.edgebudget is no table.", "Write [tool.edgebudget], keys below it.")
    data: dict[str, Value] = table
    return Document(shown, data, places)


def _places(text: str) -> Iterator[tuple[Field, Place]]:
    """Yield the line of each key of the table: the parser of the standard library does not tell them."""
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        header, key = _HEADER.match(line), _KEY.match(line)
        if header:
            table = _parts(header[1])
            where = table
        elif key:
            where = (*table, *_parts(key[1]))
        else:
            continue
        if where[: len(_TABLE)] == _TABLE:
            yield where[len(_TABLE) :], Place(number, 1)


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _text(path: Path, shown: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"{shown}: cannot be read: {reason}.", "Make it readable text.") from None
