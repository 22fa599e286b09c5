"""An emulated board that is switched on: jobs go in one after the other, what they print comes back."""

import os
import selectors
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from edgebudget.errors import MeasurementError
from edgebudget.measure.boards.host_tools import require_tools
from edgebudget.measure.boards.image import Image

BOOT_SECONDS = 120.0
SCRATCH_BYTES = 4 << 30
"""The drive that a board copies its input to; a file with holes, of which only what is written takes space."""

_AS_ON_A_PI = "transparent_hugepage=never"
"""Raspberry Pi's kernel for the cores that are emulated (arch/arm64/configs/bcm2711_defconfig) is made without
transparent huge pages. Debian's always gives them out: up to 2 MiB more for each large block, as addresses fall."""
_SIGN = "@edgebudget "
_WAIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Hardware:
    """A core as QEMU names it (`cortex-a72`), and how much RAM there is in all."""

    core: str
    ram_bytes: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended: its exit code, what it printed, and what the board's kernel counted meanwhile.

    `major_faults` are pages that had to be read from the drive, `refaulted_pages` those that had been in memory before
    and were given up for want of it. `killed_for_memory` says that the kernel chose a process of the board and killed
    it.
    """

    code: int
    stdout: str
    stderr: str
    seconds: float
    major_faults: int
    refaulted_pages: int
    killed_for_memory: bool


class JobTimeoutError(MeasurementError):
    """A job took longer than it was given; the board is switched off."""


class Machine:
    """One boot of an emulated board. Leaving the context switches it off, whatever happens in it.

    Its emulator dies with this process, and with the thread that switched it on.
    """

    def __init__(self, image: Image, hardware: Hardware, payload: Path) -> None:
        """`payload` is a folder that the board finds as `/scratch/payload`; it has `facts.sh` in it."""
        self._image = image
        self._hardware = hardware
        self._payload = payload
        self._jobs = 0

    def __enter__(self) -> "Machine":
        tools = require_tools(("qemu-system-aarch64", "mke2fs", "setpriv"), "Running a board")
        self._folder = tempfile.TemporaryDirectory(prefix="edgebudget-board-")
        try:
            share = self._share = Path(self._folder.name) / "share"
            shutil.copytree(self._payload, share / "payload")
            scratch = Path(self._folder.name) / "scratch.ext4"
            make = [tools["mke2fs"], "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-E", "lazy_itable_init=1"]
            subprocess.run([*make, str(scratch), f"{SCRATCH_BYTES >> 10}k"], check=True, capture_output=True)
            self._log = (Path(self._folder.name) / "qemu.log").open("w+")
            self._process = subprocess.Popen(
                [tools["setpriv"], "--pdeathsig", "KILL", tools["qemu-system-aarch64"], *self._arguments(scratch)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
            )
            self._said = b""
            self._expect("ready", BOOT_SECONDS)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if hasattr(self, "_process"):
            self._process.kill()
            self._process.communicate()
            self._log.close()
        self._folder.cleanup()

    @property
    def facts(self) -> str:
        """What the board says about itself: the output of `facts.sh`."""
        return (self._share / "facts").read_text(encoding="utf-8")

    def run(self, command: str, inputs: Mapping[str, Path], timeout_seconds: float) -> Outcome:
        """Run a shell command with `inputs` in its folder, by names that start with `input.`, and return its outcome.

        Raises JobTimeoutError, and MeasurementError when the board itself went down: then it can run nothing more.
        """
        self._jobs += 1
        name = f"job{self._jobs}"
        job = self._share / name
        job.mkdir()
        for target, source in inputs.items():
            _link(source, job / target)
        (job / "command").write_text(command + "\n", encoding="utf-8")
        assert self._process.stdin is not None
        started = time.monotonic()
        try:
            self._process.stdin.write(f"{name}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise MeasurementError(f"The board is down: {self._last_words()}") from None
        code = int(self._expect(f"done {name}", timeout_seconds))
        seconds = time.monotonic() - started
        counts = dict(line.split() for line in (job / "counts").read_text().splitlines())
        outcome = Outcome(
            code=code,
            stdout=(job / "stdout").read_text(errors="replace"),
            stderr=(job / "stderr").read_text(errors="replace"),
            seconds=seconds,
            major_faults=int(counts["major_faults"]),
            refaulted_pages=int(counts["refaulted_pages"]),
            killed_for_memory=int(counts["killed_for_memory"]) > 0,
        )
        shutil.rmtree(job)
        return outcome

    def _arguments(self, scratch: Path) -> Sequence[str]:
        image, hardware = self._image, self._hardware
        drives = [("system", image.system, "on"), ("scratch", scratch, "off")]
        return [
            "-machine", "virt", "-cpu", hardware.core, "-m", f"{hardware.ram_bytes >> 20}M", "-smp", "1",
            "-accel", "tcg", "-kernel", str(image.kernel), "-initrd", str(image.initramfs),
            "-append", f"console=ttyAMA0 quiet loglevel=1 panic=-1 cma=0 {_AS_ON_A_PI}", "-no-reboot",
            "-display", "none", "-monitor", "none", "-serial", "stdio", "-nic", "none",
            *(part for name, path, readonly in drives for part in (
                "-drive", f"if=none,id={name},file={path},format=raw,readonly={readonly}",
                "-device", f"virtio-blk-device,drive={name},serial={name}",
            )),
            "-fsdev", f"local,id=share,path={self._share},security_model=none",
            "-device", "virtio-9p-device,fsdev=share,mount_tag=share",
        ]  # fmt: skip

    def _expect(self, what: str, timeout_seconds: float) -> str:
        """Wait for the agent's line that starts with `what`, and return the rest of it.

        Time is counted in what was waited for: when a shell stops this process, it stops the board with it.
        """
        left_seconds = timeout_seconds
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while True:
                line, end, rest = self._said.partition(b"\n")
                if end:
                    self._said = rest
                    _, _, said = line.decode(errors="replace").partition(_SIGN)
                    if said.startswith(what):
                        return said.removeprefix(what).strip()
                    continue
                started = time.monotonic()
                said_more = selector.select(max(0.0, min(left_seconds, _WAIT_SECONDS)))
                left_seconds -= min(time.monotonic() - started, _WAIT_SECONDS)
                if not said_more:
                    if left_seconds > 0:
                        continue
                    self._process.kill()
                    raise JobTimeoutError(f"The board did not answer within {timeout_seconds:.0f} s.")
                data = os.read(self._process.stdout.fileno(), 65536)
                if not data:
                    raise MeasurementError(f"The board went down: {self._last_words()}")
                self._said += data

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = (self._said.decode(errors="replace") + "\n" + self._log.read()).splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")[:300]


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)
