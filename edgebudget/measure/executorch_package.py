"""Where the installed executorch wheel lies."""

import importlib.util
from pathlib import Path

from edgebudget.errors import MissingExtraError


def package_folder(needed_for: str) -> Path:
    """Return where the executorch package lies, without importing it; raises MissingExtraError."""
    spec = importlib.util.find_spec("executorch")
    places = list(spec.submodule_search_locations or []) if spec else []
    if not places:
        raise MissingExtraError("executorch", "executorch", needed_for)
    return Path(places[0])
