"""A profile's data against the JSON Schema, each violation as one sentence with its remedy."""

import datetime
import difflib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from edgebudget.profiles.parse import Field, Value
from edgebudget.units import parse_binary_size, parse_percent, parse_storage_size

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError

_MAX_BYTES = 2**63 - 1

# What to write where a required key is missing.
_EXAMPLES = {
    "schema_version": "schema_version: 1",
    "name": "name: the file's name without .yaml",
    "display_name": "display_name: My Board (4 GB)",
    "class": "class: sbc",
    "memory": "memory: {ram: 4 GiB, idle_available: 3 GiB, safety_margin: 20%}",
    "ram": "ram: 4 GiB",
    "safety_margin": "safety_margin: 20%",
    "cpu": "cpu: {isa: armv8-a, cores: [cortex-a72], pointer_bits: 64}",
    "isa": "isa: armv8-a",
    "pointer_bits": "pointer_bits: 64",
    "default_runtime": "default_runtime: executorch-xnnpack",
    "size": "size: 256 KiB",
    "holds": "holds: weights",
    "field": "field: memory.ram",
    "title": "title: where the figure was read",
    "read_on": "read_on: 2026-01-31",
    "confidence": "confidence: verified",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one field: the place in the data, and a sentence without the final stop."""

    field: Field
    message: str


def schema_problems(data: dict[str, Value]) -> list[Problem]:
    """Return what the JSON Schema has against `data`: one problem a field, empty for a valid profile."""
    return problems_of(_validator(), data)


def problems_of(validator: "Draft202012Validator", data: dict[str, Value]) -> list[Problem]:
    """Return what `validator` has against `data`: one problem a field."""
    ranked: dict[Field, tuple[int, Problem]] = {}
    for error in validator.iter_errors(data):
        for rank, problem in _explain(error):
            if problem.field not in ranked or rank < ranked[problem.field][0]:
                ranked[problem.field] = (rank, problem)
    return [problem for _, problem in ranked.values()]


def schema_text() -> str:
    """Return the JSON Schema as it ships with the package."""
    return Path(__file__).with_name("schema.json").read_text(encoding="utf-8")


@cache
def _validator() -> "Draft202012Validator":
    checks: dict[str, Callable[[object], object]] = {
        "binary-size": lambda value: _bounded(parse_binary_size(value)),
        "storage-size": lambda value: _bounded(parse_storage_size(value)),
        "percent": parse_percent,
        "iso-date": _iso_date,
    }
    return make_validator(schema_text(), checks)


def make_validator(schema: str, checks: Mapping[str, Callable[[object], object]]) -> "Draft202012Validator":
    """Return the validator for the text of a JSON Schema; `checks` are its formats, which raise ValueError."""
    # Imported here: it costs more than reading every shipped profile.
    from jsonschema import Draft202012Validator, FormatChecker

    formats = FormatChecker(formats=())
    for name, check in checks.items():
        formats.checks(name, raises=ValueError)(_holds(check))
    parsed = json.loads(schema)
    whole = {key: _with_definitions(value, parsed.get("$defs", {})) for key, value in parsed.items()}
    return Draft202012Validator(whole, format_checker=formats)


def _with_definitions(schema: object, definitions: Mapping[str, Mapping[str, object]]) -> object:
    """Return `schema` with what each `$ref` stands for in its place: to look one up takes as long as to hold a value
    against it. A reference elsewhere, or beside keywords that the definition has too, stays."""
    if isinstance(schema, list):
        return [_with_definitions(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    name = reference.removeprefix("#/$defs/") if isinstance(reference, str) else ""
    named = definitions.get(name)
    if named is not None and "$ref" not in named and named.keys().isdisjoint(schema):
        schema = {**named, **{key: value for key, value in schema.items() if key != "$ref"}}
        definitions = {other: meaning for other, meaning in definitions.items() if other != name}  # it may name itself
    return {key: _with_definitions(value, definitions) for key, value in schema.items()}


def _holds(check: Callable[[object], object]) -> Callable[[object], bool]:
    def holds(value: object) -> bool:
        check(value)
        return True

    return holds


def _bounded(nbytes: int) -> int:
    if nbytes > _MAX_BYTES:
        raise ValueError(f"{nbytes} bytes is larger than any memory")
    return nbytes


def _iso_date(value: object) -> None:
    try:
        if isinstance(value, str) and len(value) == 10:
            datetime.date.fromisoformat(value)
            return
    except ValueError:
        pass
    raise ValueError(f"{_shown(value)} is not a date; write, for example, 2026-01-31")


def _explain(error: "ValidationError") -> Iterator[tuple[int, Problem]]:
    """Yield the sentences for one violation, the more telling kind with the lower rank."""
    field: Field = tuple(error.absolute_path)
    value: object = error.instance
    expected: object = error.validator_value
    keyword = str(error.validator)
    if keyword == "format" and error.cause is not None:
        yield 0, Problem(field, str(error.cause))
    elif keyword == "additionalProperties" and isinstance(value, dict):
        known = _keys(error.schema)
        for key in value:
            if key not in known:
                yield 0, Problem((*field, key), f"unknown key; {nearest(str(key), known)}")
    elif keyword == "required" and isinstance(value, dict):
        for key in _items(expected):
            if key not in value:
                yield 0, Problem((*field, key), f"missing; write, for example, '{_EXAMPLES[key]}'")
    elif keyword == "anyOf":
        message = (
            "missing, and process_limit as well, so there is no budget; "
            "write, for example, 'idle_available: 3 GiB' as measured on the device"
        )
        yield 1, Problem((*field, "idle_available"), message)
    elif keyword in ("enum", "const"):
        yield 2, Problem(field, f"{_shown(value)} is not possible here; {nearest(str(value), _items(expected))}")
    elif keyword == "type":
        words = " or ".join(_TYPE_WORDS[name] for name in _items(expected))
        yield 3, Problem(field, f"{_shown(value)} is not {words}")
    elif keyword == "pattern":
        yield 4, Problem(field, f"{_shown(value)} is not a name; use lower-case letters, digits, '-', '.' and '_'")
    elif keyword == "uniqueItems":
        yield 4, Problem(field, "lists the same thing twice; keep one")
    elif keyword in ("maxItems", "maxLength"):
        yield 4, Problem(field, f"is longer than {expected}; shorten it")
    elif keyword == "minLength":
        yield 4, Problem(field, "is empty; write what it is")
    else:
        yield 5, Problem(field, f"{_shown(value)} does not hold to the schema's '{keyword}: {expected}'")


def _keys(schema: object) -> list[str]:
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    return sorted(properties) if isinstance(properties, Mapping) else []


def _items(expected: object) -> list[str]:
    return [str(item) for item in expected] if isinstance(expected, list) else [str(expected)]


_TYPE_WORDS = {
    "object": "a mapping of keys to values",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


def nearest(name: str, known: Sequence[str]) -> str:
    """Return the end of a sentence about an unknown `name`: what is close to it among `known`, or all of them."""
    near = difflib.get_close_matches(name[:80], known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(known)}"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    return repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
