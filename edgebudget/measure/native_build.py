"""The C and C++ parts, compiled once with the system's compiler into the user's cache folder."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgebudget.errors import MeasurementError

_SOURCES = Path(__file__).parent / "native"


@dataclass(frozen=True, slots=True)
class Toolchain:
    """Compilers of C and C++ for one kind of machine, and Debian's package that brings them."""

    c: str
    cpp: str
    package: str


NATIVE = Toolchain("cc", "c++", "build-essential")
AARCH64 = Toolchain("aarch64-linux-gnu-gcc", "aarch64-linux-gnu-g++", "g++-aarch64-linux-gnu")


def heap_counter(tools: Toolchain = NATIVE) -> Path:
    """Return the shared library that counts allocations, to be loaded with LD_PRELOAD.

    Raises MeasurementError when there is no C compiler or the C library is not glibc.
    """
    return _compiled("heap_counter.c", tools.c, tools, ["-shared", "-fPIC", "-fno-builtin", "-pthread"], [], ".so")


def executorch_runner(package: Path, tools: Toolchain = NATIVE) -> Path:
    """Return the program that runs an ExecuTorch program alone, linked against the wheel whose folder is `package`.

    It finds the wheel's libraries there; elsewhere LD_LIBRARY_PATH has to name them.
    Raises MeasurementError when there is no C++ compiler or the wheel carries no libraries.
    """
    include, lib = package / "include", package / "lib"
    libraries = ["executorch", "executorch_kernels_optimized", "executorch_kernels_quantized"]
    libraries += ["executorch_backend_xnnpack", "executorch_threadpool"]
    missing = [name for name in libraries if not (lib / f"lib{name}.so").exists()]
    if missing:
        raise MeasurementError(
            f"The executorch package in {package} has no lib{missing[0]}.so to link a runner against.",
            "Install executorch 1.5 or newer from its wheel.",
        )
    compile_flags = [
        "-std=c++17", "-Wno-deprecated-declarations", "-DC10_USING_CUSTOM_GENERATED_MACROS",
        f"-I{include}", f"-I{include}/executorch/runtime/core/portable_type/c10",
    ]  # fmt: skip
    # The kernels and the delegate register themselves when loaded: nothing refers to them by name.
    link_flags = [f"-L{lib}", f"-Wl,-rpath,{lib}", "-Wl,--no-as-needed", *(f"-l{name}" for name in libraries)]
    return _compiled("executorch_runner.cpp", tools.cpp, tools, compile_flags, link_flags, "")


def _compiled(
    source: str, compiler: str, tools: Toolchain, compile_flags: Sequence[str], link_flags: Sequence[str], suffix: str
) -> Path:
    found = shutil.which(compiler)
    if found is None:
        raise MeasurementError(
            f"Measuring needs the compiler '{compiler}', which is not on the PATH.",
            f"Install it, on Debian or Ubuntu with: sudo apt install {tools.package}",
        )
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    text = (_SOURCES / source).read_text(encoding="utf-8")
    key = "\0".join([text, version, *compile_flags, *link_flags])
    target = cache_folder() / "native" / f"{Path(source).stem}-{hashlib.sha256(key.encode()).hexdigest()[:16]}{suffix}"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        command = [found, "-O2", *compile_flags, str(_SOURCES / source), "-o", str(made), *link_flags]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            first = next((line for line in result.stderr.splitlines() if "error" in line), result.stderr.strip()[:300])
            raise MeasurementError(f"'{compiler}' could not compile {source}: {first}")
        os.replace(made, target)
    return target


def cache_folder() -> Path:
    """Return where what is made once for this user lies; it may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "edgebudget"
