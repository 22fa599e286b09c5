"""A settings document, held to its schema and to what there is, as `Settings`."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from edgebudget.dtypes import DTYPES
from edgebudget.errors import EdgeBudgetError, SettingsError
from edgebudget.profiles import resolve_devices
from edgebudget.profiles.folders import profile_folders
from edgebudget.profiles.parse import Document, Field, Value, dotted
from edgebudget.profiles.schema import make_validator, problems_of
from edgebudget.runtimes import RUNTIMES
from edgebudget.settings.interface import Settings
from edgebudget.units import parse_percent

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

_YAML = (".yaml", ".yml")


def to_settings(document: Document, folder: Path, profiles: Sequence[Path] = ()) -> Settings:
    """Return the settings in `document`, which lies in `folder`; raises SettingsError for the first thing wrong."""
    problems = problems_of(_validator(), document.data)
    if problems:
        first = min(problems, key=lambda problem: document.place(problem.field))
        raise _error(document, first.field, first.message + ("" if first.message.endswith("?") else "."))
    policy = document.data.get("policy")
    rules: Mapping[str, Value] = policy if isinstance(policy, dict) else {}
    baseline = rules.get("baseline")
    own = tuple(folder / name for name in _names(document, "profiles"))
    folders = profile_folders((*profiles, *own))
    return Settings(
        folder=folder,
        path=document.path,
        models=tuple(_names(document, "models")),
        devices=_known(document, "devices", folder, lambda name: resolve_devices([name], folders)),
        profiles=own,
        dtypes=_known(document, "dtypes", folder, DTYPES.get),
        runtimes=_known(document, "runtimes", folder, RUNTIMES.get),
        headroom_percent=_percent(rules.get("headroom")),
        allow_marginal=rules.get("allow-marginal") is True,
        baseline=folder / baseline if isinstance(baseline, str) else None,
        max_growth_percent=_percent(rules.get("max-growth")),
    )


def _known(document: Document, key: str, folder: Path, find: Callable[[str], object]) -> tuple[str, ...]:
    """Return the names under `key`, files among them as seen from here; raises SettingsError where `find` fails."""
    found = []
    for position, name in enumerate(_names(document, key)):
        here = str(folder / name) if name.endswith(_YAML) and folder != Path.cwd() else name
        try:
            find(here)
        except EdgeBudgetError as error:
            raise _error(document, (key, position), error.message, error.hint) from None
        found.append(here)
    return tuple(found)


def _names(document: Document, key: str) -> list[str]:
    listed = document.data.get(key)
    return [str(name) for name in listed] if isinstance(listed, list) else []


def _percent(value: Value) -> float | None:
    return None if value is None else parse_percent(value)


def _error(document: Document, where: Field, message: str, hint: str = "") -> SettingsError:
    return SettingsError(f"{document.path}:{document.place(where).line}: {dotted(where)}: {message}", hint)


@cache
def _validator() -> "Draft202012Validator":
    schema = (files("edgebudget.settings") / "schema.json").read_text(encoding="utf-8")
    return make_validator(schema, {"percent": parse_percent})
