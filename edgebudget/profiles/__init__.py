"""Device profiles: YAML in, frozen `DeviceProfile` out."""

from edgebudget.profiles.interface import DeviceProfile
from edgebudget.profiles.load import load_profile, profile_names, resolve_devices

__all__ = ["DeviceProfile", "load_profile", "profile_names", "resolve_devices"]
