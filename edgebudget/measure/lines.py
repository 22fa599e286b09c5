"""JSON lines that a schema holds for: read whole, or refused with the file, the line and the place in it."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from edgebudget.errors import CalibrationError

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

_REMEDY = "Delete the line, or measure again."


# What follows reads records that the schema has accepted: naming their types would only repeat it.
def records(text: str, where: str, schema: Path) -> Iterator[Mapping]:  # type: ignore[type-arg]
    """Yield the objects in `text`, one a line, empty lines left out.

    Raises CalibrationError, which starts with `where` and the line's number, when a line is not JSON or does not fit.
    """
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else error
            raise CalibrationError(f"{where}:{number}: not JSON ({reason}).", _REMEDY) from None
        wrong = fault(record, schema)
        if wrong:
            raise CalibrationError(f"{where}:{number}: {wrong}.", _REMEDY)
        yield record


def fault(record: object, schema: Path) -> str:
    """Return the outermost place at which `record` does not fit the schema in a file, and why; "" where it fits."""
    errors = sorted(_validator(schema).iter_errors(record), key=lambda error: len(error.absolute_path))
    if not errors:
        return ""
    return f"{'.'.join(map(str, errors[0].absolute_path)) or 'the record'}: {errors[0].message[:200]}"


@cache
def _validator(schema: Path) -> "Draft202012Validator":
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(schema.read_text(encoding="utf-8")))
