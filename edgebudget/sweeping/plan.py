"""What a sweep covers: from a YAML or from the command line, down to the units of work."""

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from edgebudget.errors import UsageError
from edgebudget.profiles.parse import MAX_TEXT_BYTES, Value, dotted, parse_profile, too_long

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

DEFAULT_RESOLUTION = "default"
LARGEST_SIDE = 2**16  # pixels: no sensor has more, and beyond it a number is a typing error
_RESOLUTION = re.compile(r"([0-9]{1,6})(?:x([0-9]{1,6}))?")


@dataclass(frozen=True, slots=True)
class Resolution:
    """Height and width to feed every image at; `size` None leaves the model's own."""

    size: tuple[int, int] | None = None

    def __str__(self) -> str:
        return DEFAULT_RESOLUTION if self.size is None else f"{self.size[0]}x{self.size[1]}"


@dataclass(frozen=True, slots=True)
class Unit:
    """What is traced once: one model at one resolution."""

    model: str
    resolution: Resolution = Resolution()


@dataclass(frozen=True)
class Plan:
    """A sweep as asked for: names and globs, not yet looked up. Empty means not said."""

    models: tuple[str, ...] = ()
    resolutions: tuple[Resolution, ...] = ()
    batch: int | None = None
    dtypes: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()


def units(models: tuple[str, ...], resolutions: tuple[Resolution, ...]) -> tuple[Unit, ...]:
    """Return every model at every resolution, each pair once, by model."""
    return tuple(dict.fromkeys(Unit(m, r) for m in models for r in resolutions or (Resolution(),)))


def parse_resolution(text: str) -> Resolution:
    """Return the resolution of `224`, `192x320` (height x width) or `default`; raises UsageError for anything else."""
    if text == DEFAULT_RESOLUTION:
        return Resolution()
    found = _RESOLUTION.fullmatch(text)
    sides = [int(side) for side in found.groups() if side] if found else []
    if not sides or not all(1 <= side <= LARGEST_SIDE for side in sides):
        raise UsageError(
            f"{text[:60]!r} is not a resolution.", "Write 224, 192x320 (height x width), or default for a model's own."
        )
    return Resolution((sides[0], sides[-1]))


def load_plan(path: Path) -> Plan:
    """Return the plan in the YAML file `path`; raises UsageError or ProfileError with what is wrong and where."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TEXT_BYTES + 1)
        if len(data) > MAX_TEXT_BYTES:
            raise too_long(str(path))
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"The plan {path} cannot be read: {reason}.", "Give --plan a YAML file.") from None
    return parse_plan(text, str(path))


def parse_plan(text: str, path: str) -> Plan:
    """Return the plan that a YAML `text` says; `path` is what messages call it. Pure.

    The YAML is read as profiles are: bounded, without anchors, tags or anything that can expand. Raises ProfileError
    for what is no such YAML, UsageError, `path:LINE:COLUMN: ...`, for what does not fit the schema.
    """
    document = parse_profile(text, path)

    def wrong(where: tuple[str | int, ...], problem: str) -> UsageError:
        place = document.place(where)
        field = f"{dotted(where)}: " if where else ""
        return UsageError(f"{path}:{place.line}:{place.column}: {field}{problem}")

    fault = next(iter(sorted(_validator().iter_errors(document.data), key=lambda e: [str(p) for p in e.path])), None)
    if fault is not None:
        message = fault.message if len(fault.message) < 200 else f"{fault.message[:100]} ... {fault.message[-80:]}"
        raise wrong(tuple(fault.absolute_path), f"{message}.")
    resolutions = []
    for index, written in enumerate(_texts(document.data.get("resolutions"))):
        try:
            resolutions.append(parse_resolution(written))
        except UsageError as error:
            raise wrong(("resolutions", index), str(error)) from None
    batch = document.data.get("batch")
    return Plan(
        models=_texts(document.data["models"]),
        resolutions=tuple(resolutions),
        batch=batch if isinstance(batch, int) else None,
        dtypes=_texts(document.data.get("dtypes")),
        runtimes=_texts(document.data.get("runtimes")),
        devices=_texts(document.data.get("devices")),
    )


def _texts(values: Value) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(str, values))) if isinstance(values, list) else ()


@cache
def _validator() -> "Draft202012Validator":
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads((files("edgebudget.sweeping") / "schema.json").read_text("utf-8")))
