"""What a repository says once about its models and devices, so that a bare `edgebudget check` works in it."""

from edgebudget.settings.find import load_settings
from edgebudget.settings.interface import NO_SETTINGS, Settings

__all__ = ["NO_SETTINGS", "Settings", "load_settings"]
