"""Device profiles: YAML in, frozen `DeviceProfile` out.

What reads files comes on first use: a `DeviceProfile` alone costs no YAML parser.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from edgebudget.profiles.interface import DeviceProfile

if TYPE_CHECKING:
    from edgebudget.profiles.load import load_profile, profile_names, resolve_devices

__all__ = ["DeviceProfile", "load_profile", "profile_names", "resolve_devices"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'edgebudget.profiles' has no attribute {name!r}")
    return getattr(import_module("edgebudget.profiles.load"), name)
