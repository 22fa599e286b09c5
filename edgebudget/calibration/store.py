"""Fits as JSON files: read, checked against `schema.json`, found by what they speak for."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from edgebudget.calibration.model import CUDA, CUDA_TENSORS, SCHEMA_VERSION, Fit, HeldOut
from edgebudget.errors import CalibrationError

SHIPPED = "shipped"


@dataclass(frozen=True)
class Calibrations:
    """The fits to choose from."""

    fits: tuple[Fit, ...]

    def find(self, runtime: str, dtype: str, isa: str) -> Fit | None:
        """Return the fit for `runtime` and `dtype`, None without: one measured on `isa` before one of a process
        elsewhere, and that before one of tensors alone. A GPU's segments speak for no CPU, and no CPU for them."""
        fitting = [fit for fit in self.fits if fit.runtime == runtime and fit.dtype == dtype]
        fitting = [fit for fit in fitting if (fit.isa == CUDA) == (isa == CUDA)]
        return min(fitting, key=lambda fit: (not fit.speaks_for(isa), fit.isa == CUDA_TENSORS), default=None)


NONE = Calibrations(())


def load_calibrations(name: str | None) -> Calibrations:
    """Return the fits that `name` stands for: None or `shipped` those of the package, `none` none, else a JSON file.

    Raises CalibrationError for a file that is missing, not JSON, or does not fit the schema.
    """
    if name is None or name == SHIPPED:
        return shipped()
    if name == "none":
        return NONE
    path = Path(name)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise CalibrationError(
            f"The calibration {name!r} cannot be read: {reason}.",
            f"Give --calibration {SHIPPED}, none, or a file that 'edgebudget calibrate' wrote.",
        ) from error
    return Calibrations(parse_fits(text, name, _validate))


@cache
def shipped() -> Calibrations:
    """Return the fits that come with the package, by file name. A test holds them to the schema."""
    folder = files("edgebudget.calibration") / "fits"
    found = folder.iterdir() if folder.is_dir() else ()
    entries = sorted((e for e in found if e.name.endswith(".json")), key=lambda e: e.name)
    return Calibrations(tuple(fit for entry in entries for fit in parse_fits(entry.read_text("utf-8"), entry.name)))


def parse_fits(
    text: str, where: str, validate: Callable[[object, str], None] = lambda document, where: None
) -> tuple[Fit, ...]:
    """Return the fits in a JSON text that `validate` accepts; raises CalibrationError, which starts with `where`."""
    try:
        document = json.loads(text)
        validate(document, where)
        return tuple(_fits(document))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CalibrationError(
            f"{where}: not a calibration of this version: {type(error).__name__} {error}.",
            "Write it again with 'edgebudget calibrate'.",
        ) from error


def to_json(fits: Sequence[Fit]) -> str:
    """Return the text of a calibration file, the same for the same fits."""
    document = {"schema_version": SCHEMA_VERSION, "fits": [asdict(fit) for fit in fits]}
    _validate(document, "calibration")
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def _fits(document: Mapping[str, object]) -> Iterator[Fit]:
    if document["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"schema_version {document['schema_version']!r}")
    entries = document["fits"]
    if not isinstance(entries, list):
        raise TypeError("fits is not a list")
    for entry in entries:
        held = {key: HeldOut(**entry[key]) for key in ("held_out", "held_out_raw", "leave_one_model_out")}
        yield Fit(**{**entry, **held})


def _validate(document: object, where: str) -> None:
    from jsonschema import Draft202012Validator

    schema = json.loads((files("edgebudget.calibration") / "schema.json").read_text("utf-8"))
    for fault in Draft202012Validator(schema).iter_errors(document):
        place = ".".join(map(str, fault.absolute_path)) or "the document"
        message = f"{where}: {place}: {fault.message[:200]}"
        raise CalibrationError(message, "Write it again with 'edgebudget calibrate'.")
