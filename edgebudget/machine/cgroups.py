"""What control groups leave a process, version 1 and 2: pure, over whatever gives the files' text.

A group's limit holds for all its processes together and for those of the groups below it, so that every group from
this process's own up to the root of what is mounted counts. Sources: Linux's Documentation/admin-guide/cgroup-v2.rst
and cgroup-v1/memory.rst; mountinfo's fields, proc_pid_mountinfo(5).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from edgebudget.machine.interface import Reading, ReadText

# What version 1 says where there is no limit: the largest multiple of a page in 63 bits, whatever the page.
_UNLIMITED_BYTES = 2**62


@dataclass(frozen=True, slots=True)
class _Files:
    """The files of one version: limits, what the group takes, and what of it could be dropped."""

    limits: tuple[str, ...]
    usage: str
    reclaimable: str


_VERSION_1 = _Files(("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file")
_VERSION_2 = _Files(("memory.max", "memory.high"), "memory.current", "inactive_file")


def cgroup_limits(read: ReadText) -> tuple[tuple[Reading, ...], tuple[Reading, ...]]:
    """Return the limits of the groups that this process is in, and for each what is left under it: the limit less what
    its processes take and cannot give back (files' pages that are not in use can be dropped)."""
    limits, left = [], []
    for folder, files in _groups(read("/proc/self/cgroup") or "", read("/proc/self/mountinfo") or ""):
        for name in files.limits:
            limit_bytes = _whole_number(read(f"{folder}/{name}"))
            if limit_bytes is None or limit_bytes >= _UNLIMITED_BYTES:
                continue
            limits.append(Reading(limit_bytes, f"{folder}/{name}"))
            usage_bytes = _whole_number(read(f"{folder}/{files.usage}"))
            if usage_bytes is not None:
                held_bytes = max(usage_bytes - _statistic(read(f"{folder}/memory.stat"), files.reclaimable), 0)
                where = f"{folder}/{name} less what is in use ({files.usage} less {files.reclaimable})"
                left.append(Reading(max(limit_bytes - held_bytes, 0), where))
    return tuple(limits), tuple(left)


def _groups(cgroup: str, mountinfo: str) -> Iterator[tuple[str, _Files]]:
    """Yield the folders of the memory controller's groups, this process's own first, then those around it."""
    for line in cgroup.splitlines():
        if line.count(":") < 2:
            continue
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            files, mounts = _VERSION_2, _mounts(mountinfo, "cgroup2", None)
        elif "memory" in controllers.split(","):
            files, mounts = _VERSION_1, _mounts(mountinfo, "cgroup", "memory")
        else:
            continue
        for root, mount_point in mounts:
            yield from ((folder, files) for folder in _upwards(path, root, mount_point))


def _mounts(mountinfo: str, kind: str, controller: str | None) -> Iterator[tuple[str, str]]:
    """Yield (root, mount point) of the hierarchies of one kind."""
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        columns, tail = fields.split(), rest.split()
        if len(columns) < 5 or len(tail) < 3 or tail[0] != kind:
            continue
        if controller is None or controller in tail[2].split(","):
            yield columns[3], columns[4]


def _upwards(path: str, root: str, mount_point: str) -> Iterator[str]:
    """Yield the folders from `path` up to the mount's root. In a container the path may lie outside of what is mounted:
    then the mount point itself is the container's group."""
    inside = PurePosixPath(path)
    if not inside.is_relative_to(root) or ".." in inside.parts:
        yield mount_point
        return
    below = inside.relative_to(root)
    for part in (below, *below.parents) if below.parts else (below,):
        yield str(PurePosixPath(mount_point) / part)


def _whole_number(text: str | None) -> int | None:
    stripped = (text or "").strip()
    return int(stripped) if stripped.isdigit() else None


def _statistic(text: str | None, name: str) -> int:
    rows = (line.split() for line in (text or "").splitlines())
    return next((int(row[1]) for row in rows if len(row) == 2 and row[0] == name and row[1].isdigit()), 0)
