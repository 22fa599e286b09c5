"""The programs of the host that a board is made and run with."""

import shutil
from collections.abc import Iterable, Mapping

from edgebudget.errors import MeasurementError

PACKAGES: Mapping[str, str] = {
    "qemu-system-aarch64": "qemu-system-arm",
    "debootstrap": "debootstrap debian-archive-keyring",
    "dpkg-deb": "dpkg",
    "mke2fs": "e2fsprogs",
    "setpriv": "util-linux",
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
    "aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu",
    "ssh": "openssh-client",
}
"""Debian's and Ubuntu's package of each program."""

_SBIN = "/usr/sbin:/sbin"  # not on the PATH of a plain user, and mke2fs and debootstrap lie there


def find_tool(name: str) -> str | None:
    """Return the path of a program, None where it is not installed."""
    return shutil.which(name) or shutil.which(name, path=_SBIN)


def require_tools(names: Iterable[str], needed_for: str) -> dict[str, str]:
    """Return the path of each program by name.

    Raises MeasurementError that names every one that is missing, with the one command that installs them.
    """
    found = {name: find_tool(name) for name in names}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        packages = sorted({PACKAGES[name] for name in missing})
        raise MeasurementError(
            f"{needed_for} needs {', '.join(missing)}, which the PATH does not have.",
            f"Install them, on Debian or Ubuntu with: sudo apt install {' '.join(packages)}",
        )
    return {name: path for name, path in found.items() if path is not None}
