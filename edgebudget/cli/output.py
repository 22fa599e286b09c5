"""The one place that opens files for writing: whole or not at all."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgebudget.errors import OutputError
from edgebudget.printable import one_line

if TYPE_CHECKING:
    from edgebudget.report import Report

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_STEM = 100


def print_result(text: str) -> None:
    """Write `text` to stdout as it is, with escapes for what the terminal's encoding cannot say."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()


def print_error(sentence: str) -> None:
    """Write `sentence` to stderr on one line, whatever it holds."""
    print(f"edgebudget: {one_line(' '.join(sentence.split()))}", file=sys.stderr)


def print_errors(report: "Report") -> None:
    """Write a sentence to stderr for each model of `report` that could not be estimated."""
    for error in report.errors:
        print_error(f"{error.message} {error.hint}")


def file_stem(name: str) -> str:
    """Return `name` as one plain component of a path: no separators, no leading dots, not empty, not too long."""
    return _NOT_IN_NAMES.sub("_", name).lstrip(".")[:_LONGEST_STEM] or "unnamed"


def prepare_folder(folder: Path) -> None:
    """Make `folder` and see that files can be made in it, before any work is done for them; raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"Cannot write into {folder}: {error.strerror}.", "Give --out a folder that can be made and written to."
        ) from error


def write_files(contents: Mapping[Path, str | bytes]) -> None:
    """Write each text or bytes to its path, replacing what is there; on failure a file is as it was, or new and whole.

    Only regular files are replaced. A symbolic link is refused: replacing it would lose the link, and writing through
    it would change a file that the user did not name. Raises OutputError.
    """
    written: list[tuple[Path, Path]] = []
    try:
        for path, content in contents.items():
            _refuse_odd_target(path)
            written.append((_write_beside(path, content), path))
        while written:
            temporary, path = written[0]
            os.replace(temporary, path)
            written.pop(0)
    except OSError as error:
        raise OutputError(
            f"Cannot write {error.filename or 'the report'}: {error.strerror}.", "Give --out a place to write to."
        ) from error
    finally:
        for temporary, _ in written:
            with contextlib.suppress(OSError):
                temporary.unlink()


def _refuse_odd_target(path: Path) -> None:
    if path.is_symlink():
        raise OutputError(f"{path} is a symbolic link.", "Name the file it points to, or remove the link.")
    if path.exists() and not path.is_file():
        raise OutputError(f"{path} is not a regular file.", "Name a file, or use --out - for stdout.")


def _write_beside(path: Path, content: str | bytes) -> Path:
    """Write `content` to a new file in the folder of `path`, so that it can take its place in one step."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with open(descriptor, "wb") as file:
            file.write(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)
        os.chmod(name, 0o666 & ~_umask())
    except BaseException:
        os.unlink(name)
        raise
    return Path(name)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
