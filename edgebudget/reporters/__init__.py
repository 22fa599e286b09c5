"""Reports as text, one file a format."""

from edgebudget.registry import Registry
from edgebudget.reporters.interface import Reporter

REPORTERS: Registry[Reporter] = Registry("edgebudget.reporters", "REPORTER", "format")

__all__ = ["REPORTERS", "Reporter"]
