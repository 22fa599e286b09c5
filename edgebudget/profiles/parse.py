"""YAML text to plain data and the place of every field: bounded, and without anything that can expand or run.

The parser reads events, not objects: anchors, aliases, tags and duplicate keys are refused, so a document can neither
grow beyond its text nor build anything but numbers, text, lists and mappings. Plain scalars follow the YAML 1.2 core
schema: dates stay text, and only `true` and `false` are booleans.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, Protocol, TypeAlias

import yaml

from edgebudget.errors import ProfileError

MAX_TEXT_BYTES = 64 * 2**10
_MAX_DEPTH = 16

Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"
Field: TypeAlias = tuple[str | int, ...]

_INT = re.compile(r"[-+]?[0-9]{1,30}\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,4})?\Z")
_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}

# libyaml where PyYAML was built with it (all wheels are): the same events, ten times as fast.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Place(NamedTuple):
    """A position in a text, both counted from 1."""

    line: int
    column: int


class UnreadableProfileError(ProfileError):
    """A text that is not one YAML mapping of plain values, with the place of the first thing wrong."""

    def __init__(self, path: str, place: Place, problem: str) -> None:
        super().__init__(f"{path}:{place.line}:{place.column}: {problem}.")
        self.place = place
        self.problem = problem


@dataclass(frozen=True)
class Document:
    """One profile as it stands in its file: nothing inherited, nothing checked but the YAML itself."""

    path: str
    data: dict[str, Value]
    places: Mapping[Field, Place]

    def place(self, where: Field) -> Place:
        """Return where a field stands; for one that is missing, where the nearest thing around it stands."""
        while where not in self.places and where:
            where = where[:-1]
        return self.places.get(where, Place(1, 1))


class _Mark(Protocol):
    """A position as PyYAML gives it, counted from 0."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


@dataclass
class _Container:
    """A mapping or a list while it is being read."""

    value: "list[Value] | dict[str, Value]"
    where: Field
    key: str | None = None


@dataclass
class _Builder:
    path: str
    places: dict[Field, Place] = field(default_factory=dict)
    stack: list[_Container] = field(default_factory=list)
    root: Value = None
    documents: int = 0

    def read(self, event: yaml.Event) -> None:
        if getattr(event, "anchor", None) is not None or isinstance(event, yaml.AliasEvent):
            raise self.error(event.start_mark, "anchors and aliases are not allowed; write the value out")
        if (tag := getattr(event, "tag", None)) is not None:
            raise self.error(event.start_mark, f"the tag {str(tag)[:60]!r} is not allowed; write a plain value")
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise self.error(event.start_mark, "a second document starts here; keep one in a file")
        elif isinstance(event, yaml.ScalarEvent):
            self.scalar(event)
        elif isinstance(event, yaml.MappingStartEvent):
            self.open({}, event)
        elif isinstance(event, yaml.SequenceStartEvent):
            self.open([], event)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self.stack.pop()

    def scalar(self, event: yaml.ScalarEvent) -> None:
        container = self.stack[-1] if self.stack else None
        if container is not None and isinstance(container.value, dict) and container.key is None:
            if event.value in container.value:
                raise self.error(event.start_mark, f"the key {event.value[:60]!r} is given twice; keep one of them")
            container.key = event.value
            self.places[(*container.where, event.value)] = _place(event.start_mark)
            return
        value = _plain(event.value) if event.implicit[0] else event.value
        self.add(value, event)

    def open(self, value: "list[Value] | dict[str, Value]", event: yaml.Event) -> None:
        if len(self.stack) >= _MAX_DEPTH:
            raise self.error(event.start_mark, f"nested deeper than {_MAX_DEPTH} levels; write it flatter")
        where = self.add(value, event)
        self.stack.append(_Container(value, where))

    def add(self, value: Value, event: yaml.Event) -> Field:
        if not self.stack:
            self.root = value
            return ()
        container = self.stack[-1]
        where: Field
        if isinstance(container.value, list):
            where = (*container.where, len(container.value))
            self.places[where] = _place(event.start_mark)
            container.value.append(value)
            return where
        if container.key is None:
            raise self.error(event.start_mark, "a key must be plain text, not a list or a mapping")
        where = (*container.where, container.key)
        container.value[container.key] = value
        container.key = None
        return where

    def error(self, mark: _Mark | None, problem: str) -> UnreadableProfileError:
        return UnreadableProfileError(self.path, _place(mark), problem)


@lru_cache(maxsize=256)  # a profile that many extend is parsed once; nothing changes a Document
def parse_profile(text: str, path: str) -> Document:
    """Return the data of a profile's `text`, as `parse_mapping` does."""
    return parse_mapping(text, path, "a profile is a mapping of keys to values; start with 'schema_version: 1'")


def parse_mapping(text: str, path: str, otherwise: str) -> Document:
    """Return the data of a YAML mapping of plain values; `path` is what messages call it. Pure.

    Raises UnreadableProfileError, `path:LINE:COLUMN: ...`, for what is none; `otherwise` is what it says of lists,
    plain text and nothing.
    """
    if len(text) > MAX_TEXT_BYTES:
        raise too_long(path)
    builder = _Builder(path)
    try:
        for event in yaml.parse(text, Loader=_Loader):
            builder.read(event)
    except yaml.MarkedYAMLError as error:
        problem = " ".join(part for part in (error.problem, error.context) if part)
        raise builder.error(error.problem_mark, f"not valid YAML: {problem}; correct the syntax there") from None
    except (yaml.YAMLError, UnicodeError) as error:
        reason = " ".join(str(getattr(error, "reason", error)).split())[:120]
        raise builder.error(None, f"not readable as YAML text: {reason}; save the file as plain UTF-8") from None
    if not isinstance(builder.root, dict):
        raise builder.error(None, otherwise)
    return Document(path, builder.root, builder.places)


def too_long(path: str) -> UnreadableProfileError:
    """Return the error for a text that is larger than any such file."""
    return UnreadableProfileError(path, Place(1, 1), f"longer than {MAX_TEXT_BYTES // 2**10} KiB; shorten it")


def dotted(where: Field) -> str:
    """Return a field as people write it: `memory.ram`, `sources[2].title`."""
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _place(mark: _Mark | None) -> Place:
    return Place(1, 1) if mark is None else Place(mark.line + 1, mark.column + 1)


def _plain(text: str) -> bool | int | float | str | None:
    if text in _WORDS:
        return _WORDS[text]
    if _INT.match(text):
        return int(text)
    if _FLOAT.match(text):
        return float(text)
    return text
