"""The figures of the shipped profiles, each with its sources, and as they were when they were last looked at."""

import json
from pathlib import Path

from edgebudget.profiles.find import all_files, is_abstract
from edgebudget.profiles.folders import profile_folders
from edgebudget.profiles.lint import figures
from edgebudget.profiles.parse import Value, dotted
from edgebudget.profiles.resolve import merge_chain, read_chain

RECORDED = Path(__file__).with_name("gold") / "profile_figures.json"

Figures = dict[str, dict[str, list[str]]]
"""By profile and field: the value, then each source in one line."""


def current() -> Figures:
    """Return every figure of every shipped device, with what it inherits."""
    folders = profile_folders(environment={})
    found: Figures = {}
    for file in all_files(folders):
        document = merge_chain(read_chain(file, folders, lambda link: None))
        if not is_abstract(document):
            data = document.data
            found[file.path.stem] = {
                dotted(field): [_value(data, field), *_sources(data, dotted(field))] for field in figures(data)
            }
    return found


def recorded() -> Figures:
    """Return the figures as they were recorded."""
    loaded: Figures = json.loads(RECORDED.read_text(encoding="utf-8"))
    return loaded


def unsourced_changes(before: Figures, after: Figures) -> list[str]:
    """Return a sentence for each figure that is another than before although its sources are the same. Pure."""
    return [
        f"{name}: {field} was {old[0]} and is {after[name][field][0]}, but its source is the same: {'; '.join(old[1:])}"
        for name, fields in before.items()
        for field, old in fields.items()
        if field in after.get(name, {}) and after[name][field][0] != old[0] and after[name][field][1:] == old[1:]
    ]


def write() -> None:
    """Record the figures as they are; raises ValueError where one has changed without its source."""
    figures_now = current()
    if changes := unsourced_changes(recorded(), figures_now):
        raise ValueError("\n".join(changes))
    RECORDED.write_text(json.dumps(figures_now, indent=0, sort_keys=True) + "\n", encoding="utf-8")


def _value(data: Value, field: tuple[str | int, ...]) -> str:
    for part in field:
        assert isinstance(data, dict)
        data = data[str(part)]
    return json.dumps(data, sort_keys=True)


def _sources(data: dict[str, Value], field: str) -> list[str]:
    listed = data.get("sources")
    sources = [source for source in listed if isinstance(source, dict)] if isinstance(listed, list) else []
    return [f"{s['title']} ({s['read_on']}, {s['confidence']})" for s in sources if s.get("field") == field]
