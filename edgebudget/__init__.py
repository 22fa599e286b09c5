"""Estimate, before deployment, the memory a PyTorch model takes on an edge device, and say GO, MARGINAL or NO-GO.

Nothing heavy is imported until it is asked for: `import edgebudget` costs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgebudget.comparison import compare
    from edgebudget.estimation import estimate
    from edgebudget.profiles import load_profile
    from edgebudget.tracing import trace
    from edgebudget.verdict import check

__version__ = "0.1.0"
__all__ = ["__version__", "check", "compare", "estimate", "load_profile", "trace"]

_HOMES = {
    "check": "edgebudget.verdict",
    "compare": "edgebudget.comparison",
    "estimate": "edgebudget.estimation",
    "load_profile": "edgebudget.profiles",
    "trace": "edgebudget.tracing",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgebudget' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
