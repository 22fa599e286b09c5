"""The machine this runs on, as a device profile: what `devices here` writes and `--device here` uses."""
