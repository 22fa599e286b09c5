"""Mixed options from YAML."""

from functools import lru_cache
from pathlib import Path

import jsonschema
import yaml

from edgebudget.dtypes import DTYPES
from edgebudget.dtypes._mixed import MixedOption
from edgebudget.errors import UnknownNameError, UsageError

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["modules"],
    "properties": {
        "default": {"type": "string"},
        "modules": {"type": "object", "minProperties": 1, "additionalProperties": {"type": "string"}},
    },
}
EXAMPLE = "Write, for example, 'default: int8' and below 'modules:' lines such as '\"classifier.*\": float32'."


@lru_cache(maxsize=16)
def load_mixed(path: str) -> MixedOption:
    """Return the option that the file describes: `modules` maps globs to options, `default` (float32) is for the rest.

    Raises UsageError for a file that cannot be read or says something else, with the place and a remedy.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        document = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"{path}: cannot be read: {reason}.", "Give --dtype the path of a YAML file.") from error
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise UsageError(f"{path}: is not YAML{where}.", EXAMPLE) from error
    wrong = next(iter(jsonschema.Draft202012Validator(SCHEMA).iter_errors(document)), None)
    if wrong is not None:
        place = ".".join(str(part) for part in wrong.absolute_path) or "the document"
        raise UsageError(f"{path}: {place}: {wrong.message[:200]}.", EXAMPLE)
    names = {"default": document.get("default", "float32"), **document["modules"]}
    for place, name in names.items():
        if name.endswith((".yaml", ".yml")):
            raise UsageError(f"{path}: {place}: {name!r} is a mixed option itself.", "Name plain options.")
        try:
            DTYPES.get(name)
        except UnknownNameError as error:
            raise UsageError(f"{path}: {place}: {error.message}", error.hint) from error
    parts = {str(glob): DTYPES.get(name) for glob, name in document["modules"].items()}
    return MixedOption(path, DTYPES.get(names["default"]), parts)
