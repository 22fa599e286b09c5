"""Device profiles: YAML in, frozen `DeviceProfile` out."""
