"""Where a sweep runs, one file a place that joblib knows."""

from edgebudget.registry import Registry
from edgebudget.sweeping.backends.interface import Backend

BACKENDS: Registry[Backend] = Registry("edgebudget.sweeping.backends", "BACKEND", "backend")

__all__ = ["BACKENDS", "Backend"]
