"""Real peaks of real runtimes, one fresh process each; one file a backend in `edgebudget/measure/backends`."""

from edgebudget.measure.interface import Backend
from edgebudget.registry import Registry

BACKENDS: Registry[Backend] = Registry("edgebudget.measure.backends", "BACKEND", "backend")

__all__ = ["BACKENDS", "Backend"]
