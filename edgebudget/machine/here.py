"""Reading the machine that this runs on: the only place here with I/O."""

import os
import platform
import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from edgebudget.errors import UsageError
from edgebudget.machine.interface import Host, Machine, Reading, System
from edgebudget.machine.linux import read_linux
from edgebudget.machine.macos import read_macos

_SECONDS_PER_COMMAND = 10
_BYTES_PER_FILE = 4 * 2**20  # /proc/cpuinfo of a large server is hundreds of kilobytes


def read_machine() -> Machine:
    """Return this machine; raises UsageError on a system other than Linux, Android and macOS, or where it does not
    tell its memory."""
    system = _system()
    if system == "macos":
        return read_macos(run_command, _host())
    return read_linux(read_text, run_command, _host(), system)


def read_text(path: str) -> str | None:
    """Return a file's text, None where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(_BYTES_PER_FILE).decode("utf-8", "replace")
    except OSError:
        return None


def run_command(command: Sequence[str]) -> str | None:
    """Return what a command prints; None where it does not exist or does not answer."""
    try:
        ran = subprocess.run(
            command, capture_output=True, timeout=_SECONDS_PER_COMMAND, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ran.stdout.decode("utf-8", "replace")


def _system() -> System:
    if sys.platform == "darwin":
        return "macos"
    if sys.platform == "android" or hasattr(sys, "getandroidapilevel") or "ANDROID_ROOT" in os.environ:
        return "android"
    if sys.platform == "linux":
        return "linux"
    raise UsageError(
        f"This machine cannot be read: its system is {platform.system() or sys.platform}.",
        "Run it on Linux, Android (Termux) or macOS, or write a profile: edgebudget devices show raspberrypi.",
    )


def _host() -> Host:
    capacity, free = _storage(Path.home())
    return Host(
        machine=platform.machine(),
        pointer_bits=struct.calcsize("P") * 8,
        limits=_resource_limits(),
        capacity=capacity,
        free=free,
        read_on=datetime.now().astimezone().isoformat(timespec="minutes"),
    )


def _storage(folder: Path) -> tuple[Reading | None, Reading | None]:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None, None
    return (
        Reading(usage.total, "the home folder's file system: its size"),
        Reading(usage.free, "the home folder's file system: what is free"),
    )


def _resource_limits() -> tuple[Reading, ...]:
    import resource

    named = {"RLIMIT_AS": "ulimit -v, address space", "RLIMIT_DATA": "ulimit -d, data segment"}
    limits = {where: resource.getrlimit(getattr(resource, name))[0] for name, where in named.items()}
    return tuple(Reading(nbytes, where) for where, nbytes in limits.items() if nbytes != resource.RLIM_INFINITY)
