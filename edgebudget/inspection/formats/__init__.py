"""The layer table as text, one file a format."""

from edgebudget.inspection.interface import LayerFormat
from edgebudget.registry import Registry

FORMATS: Registry[LayerFormat] = Registry("edgebudget.inspection.formats", "FORMAT", "format")

__all__ = ["FORMATS"]
