"""The archive format that the Linux kernel takes its first files from."""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

_FOLDER, _PROGRAM = 0o040755, 0o100755


def newc(files: Mapping[str, bytes]) -> bytes:
    """Return the cpio archive ("newc", Linux's Documentation/driver-api/early-userspace/buffer-format) of `files`.

    All are executable and belong to root; their folders are added.
    """
    folders = sorted({str(folder) for name in files for folder in PurePosixPath(name).parents if folder.name})
    entries = [(name, _FOLDER, b"") for name in folders] + [(name, _PROGRAM, data) for name, data in files.items()]
    return b"".join(_parts(entries))


def _parts(entries: list[tuple[str, int, bytes]]) -> Iterator[bytes]:
    for number, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        title = name.encode() + b"\0"
        # inode, mode, uid, gid, links, mtime, size, device twice, special device twice, length of the name, checksum
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(title), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + title
        yield head + bytes(-len(head) % 4)
        yield data + bytes(-len(data) % 4)
