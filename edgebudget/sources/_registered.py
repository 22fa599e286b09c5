"""The names under which a package registers its models, read from its files: importing it takes seconds."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

# `@register_model()` or `@register_model(name="x")`, other decorators, perhaps over several lines, then the function
_REGISTERED = re.compile(
    r"^@register_model(?:\(\s*(?:name=)?(?:[\"'](?P<name>\w+)[\"'])?\s*\))?\s*\n"
    r"(?:(?!def |@register_model).*\n)*def (?P<function>\w+)",
    re.M,
)


def registered_names(package: str) -> Iterator[str]:
    """Yield the names that the files below `package`'s `models` register; none where it is not installed."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted((Path(folder) / "models").rglob("*.py")):
            for match in _REGISTERED.finditer(path.read_text(encoding="utf-8", errors="replace")):
                yield match["name"] or match["function"]
