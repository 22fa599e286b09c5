"""The system of an emulated board, made once from Debian's and Python's packages into the user's cache folder.

Needs no rights that a plain user lacks: packages are unpacked, never installed, and a file system is written from a
folder. debootstrap checks the signature of the release, pip the digests of its index.
"""

import hashlib
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgebudget.errors import MeasurementError
from edgebudget.measure.boards.cpio import newc
from edgebudget.measure.boards.host_tools import require_tools
from edgebudget.measure.boards.recipe import Recipe, pip_platforms
from edgebudget.measure.native_build import cache_folder

_KERNEL, _INITRAMFS, _SYSTEM, _MANIFEST = "vmlinuz", "initramfs", "system.ext4", "manifest.json"
SITE_PACKAGES = "usr/lib/python3/dist-packages"
"""Where the wheels lie on a board: Debian's Python looks there without being told."""
_NOT_NEEDED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/lib/modules", "boot")
_FREE_BYTES = 32 << 20


@dataclass(frozen=True)
class Image:
    """What a board boots: files that are only read, so that many boards can share them.

    `executorch` is the wheel's folder, whose headers and libraries the runner is compiled against.
    """

    folder: Path

    @property
    def kernel(self) -> Path:
        return self.folder / _KERNEL

    @property
    def initramfs(self) -> Path:
        return self.folder / _INITRAMFS

    @property
    def system(self) -> Path:
        return self.folder / _SYSTEM

    @property
    def executorch(self) -> Path:
        return self.folder / "executorch"


def board_image(recipe: Recipe, tell: Callable[[str], None]) -> Image:
    """Return the image of `recipe` from the user's cache folder; made there first where it is missing or damaged.

    `tell` hears what takes time. Raises MeasurementError when a program of the host is missing, or when packages
    cannot be had.
    """
    folder = cache_folder() / "boards" / recipe.digest[:16]
    image = Image(folder)
    if folder.exists():
        damaged = _damaged(folder)
        if not damaged:
            return image
        tell(f"The board's {damaged} in {folder} is not what was written there: making the image anew")
        shutil.rmtree(folder)
    tools = require_tools(("debootstrap", "dpkg-deb", "mke2fs"), "Making the image of a board")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as making:
        made = Path(making) / "image"
        made.mkdir()
        _make(recipe, tools, Path(making), made, tell)
        _write_manifest(recipe, made)
        if not folder.exists():  # another process may have been faster
            os.replace(made, folder)
    return image


def _make(recipe: Recipe, tools: Mapping[str, str], making: Path, made: Path, tell: Callable[[str], None]) -> None:
    packages, wheels, root = making / "packages", making / "wheels", making / "root"
    tell(f"Fetching the packages of Debian {recipe.suite} for arm64 (about 130 MB, once)")
    _run([tools["debootstrap"], "--download-only", "--arch=arm64", "--variant=minbase",
          f"--include={','.join(recipe.packages)}", recipe.suite, str(packages)])  # fmt: skip
    tell(f"Fetching {', '.join(f'{name} {version}' for name, version in recipe.wheels.items())} for aarch64")
    platforms = [flag for tag in pip_platforms() for flag in ("--platform", tag)]
    _run([sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps",
          "--only-binary=:all:", "--python-version", recipe.python, *platforms, "--dest", str(wheels),
          *(f"{name}=={version}" for name, version in recipe.wheels.items())])  # fmt: skip

    tell("Unpacking them and writing the board's drive")
    root.mkdir()
    for package in sorted((packages / "var/cache/apt/archives").glob("*.deb")):
        _run([tools["dpkg-deb"], "-x", str(package), str(root)])
    for wheel in sorted(wheels.glob("*.whl")):
        shutil.unpack_archive(wheel, root / SITE_PACKAGES, "zip")
    shutil.copy(next((root / "boot").glob("vmlinuz-*")), made / _KERNEL)
    (made / _INITRAMFS).write_bytes(newc(dict(_initramfs(recipe, root))))
    for name in ("include", "lib"):  # what else is in the wheel is Python's, and nothing on the board asks for it
        shutil.copytree(root / SITE_PACKAGES / "executorch" / name, made / "executorch" / name)
    for path in (root / SITE_PACKAGES / "executorch").iterdir():
        if path.name != "lib":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for unneeded in _NOT_NEEDED:
        shutil.rmtree(root / unneeded, ignore_errors=True)
    for name in ("scratch", "share"):
        (root / name).mkdir()
    (root / "agent.sh").write_text(recipe.scripts["agent.sh"], encoding="utf-8")
    nbytes = sum(path.lstat().st_size + 4096 for path in root.rglob("*"))
    blocks = (nbytes * 11 // 10 + _FREE_BYTES) // 1024
    _run([tools["mke2fs"], "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-E", "root_owner=0:0",
          "-d", str(root), str(made / _SYSTEM), f"{blocks}k"])  # fmt: skip


def _initramfs(recipe: Recipe, root: Path) -> Iterator[tuple[str, bytes]]:
    yield "init", recipe.scripts["init.sh"].encode()
    yield "busybox", (root / "usr/bin/busybox").read_bytes()
    known = {path.name.split(".")[0]: path for path in (root / "usr/lib/modules").rglob("*.ko.xz")}
    order: list[str] = []
    contents: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name in contents:
            return
        contents[name] = lzma.decompress(known[name].read_bytes())
        depends = re.search(rb"\0depends=([^\0]*)\0", contents[name])
        for needed in depends[1].decode().split(",") if depends and depends[1] else ():
            add(needed)
        order.append(name)

    for name in recipe.modules:
        add(name)
    for name in order:
        yield f"modules/{name}.ko", contents[name]
    yield "modules/order", "".join(f"{name}\n" for name in order).encode()


def _write_manifest(recipe: Recipe, made: Path) -> None:
    digests = {name: _sha256(made / name) for name in (_KERNEL, _INITRAMFS, _SYSTEM)}
    document = {"recipe": recipe.digest, "sha256": digests}
    (made / _MANIFEST).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _damaged(folder: Path) -> str:
    """Return the name of a file that is not what the manifest says, empty when all are."""
    try:
        digests = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))["sha256"]
        return next((name for name, digest in digests.items() if _sha256(folder / name) != digest), "")
    except (OSError, ValueError, KeyError):
        return _MANIFEST


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _run(command: Sequence[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        lines = [line.strip() for line in (result.stderr + result.stdout).splitlines() if line.strip()]
        said = next((line for line in lines if line.startswith(("E:", "ERROR"))), lines[-1] if lines else "no message")
        raise MeasurementError(f"Making the image of a board failed in {Path(command[0]).name}: {said[:300]}")
