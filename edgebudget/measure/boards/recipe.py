"""What the system of an emulated board is made of, and the digest that says whether an image was made of it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from edgebudget.errors import MissingExtraError

_GUEST = Path(__file__).parent / "guest"

MODULES = ("virtio_mmio", "virtio_blk", "crc32c_generic", "ext4", "9pnet_virtio", "9p")
"""The drivers that a board of QEMU's machine `virt` needs before it can read a drive: Debian's kernel has them as
modules. What they depend on is added when the image is made."""


@dataclass(frozen=True)
class Recipe:
    """A Debian release and packages of it for arm64, Python packages for its Python, and the scripts of the guest."""

    suite: str
    packages: tuple[str, ...]
    python: str
    wheels: Mapping[str, str]
    modules: tuple[str, ...]
    scripts: Mapping[str, str]

    @property
    def digest(self) -> str:
        """The SHA-256 of the recipe: an image made by another one is not used."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def recipe() -> Recipe:
    """Return the recipe for the runtimes that are installed here, in the same versions: a file goes with its runtime.

    Debian 13 is what Raspberry Pi OS of today is made of. Raises MissingExtraError without executorch or onnxruntime.
    """
    return Recipe(
        suite="trixie",
        packages=("python3", "linux-image-arm64", "busybox-static"),
        python="3.13",
        wheels={name: _installed(name) for name in ("executorch", "onnxruntime", "numpy")},
        modules=MODULES,
        scripts={name: (_GUEST / name).read_text(encoding="utf-8") for name in ("init.sh", "agent.sh")},
    )


def pip_platforms() -> Sequence[str]:
    """Return the platform tags of wheels that run on the recipe's release (glibc 2.41)."""
    return [f"manylinux_2_{minor}_aarch64" for minor in range(41, 16, -1)] + ["manylinux2014_aarch64"]


def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        raise MissingExtraError(package, "boards", "A board, which runs the version that is installed here,") from None
