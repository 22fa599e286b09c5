"""A real board as a place to measure at: the same workers as on an emulated one, started over ssh."""

import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import IO

from edgebudget.errors import MeasurementError, UsageError
from edgebudget.measure.boards.host_tools import require_tools
from edgebudget.measure.boards.image import board_image
from edgebudget.measure.boards.payload import FACTS, RUNNER, worker_settings, write_payload
from edgebudget.measure.boards.recipe import recipe
from edgebudget.measure.environment import PINNED, THREADS, provenance
from edgebudget.measure.executorch_package import package_folder
from edgebudget.measure.facts import parse_facts
from edgebudget.measure.interface import Backend, Board, Observation, Programs, Provenance, Subject
from edgebudget.measure.native_build import AARCH64, NATIVE, Toolchain
from edgebudget.measure.preparation import Prepared, last_line
from edgebudget.measure.records import parse_observation
from edgebudget.measure.repeats import further_names, joined

RUN_SECONDS = 1800.0
SSH_SECONDS = 300.0
"""What anything else may take over the connection: the ExecuTorch libraries are 40 MB."""

_OPTIONS = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=15")
_PYTHON = 'p="$HOME/edgebudget-venv/bin/python3"; if test -x "$p"; then echo "$p"; else command -v python3; fi'
"""What runs the worker of ONNX Runtime: systems of today do not let pip install beside their own packages."""
_VERSION = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
# A worker must not outlive the connection: when it goes, reading from it ends, and what was started is killed.
_GUARDED = (
    "exec 3<&0; {command} & worker=$!; (cat <&3; kill $worker) >/dev/null 2>&1 & guard=$!;"
    " wait $worker; code=$?; kill $guard; exit $code"
)


class BoardOverSsh:
    """A machine that `ssh DESTINATION` reaches without a password. `tell` hears what takes time.

    What it gets lies in a temporary folder of its own and is removed at the end. ONNX Runtime is the one that is
    installed there; ExecuTorch's libraries are brought along, in the version that is installed here.
    """

    def __init__(self, destination: str, tell: Callable[[str], None]) -> None:
        """`destination` is what is written after `ssh`: options, then a host."""
        self._destination = shlex.split(destination)
        self._tell = tell
        self._stack = ExitStack()
        self._installed: dict[str, str] = {}
        self._has_runner = False

    def __enter__(self) -> "BoardOverSsh":
        ssh = require_tools(("ssh",), "A board over ssh")["ssh"]
        with self._stack as stack:
            control = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgebudget-ssh-"))) / "connection"
            shared = ["-o", "ControlMaster=auto", "-o", f"ControlPath={control}", "-o", "ControlPersist=60"]
            self._ssh = [ssh, *_OPTIONS, *shared, *self._destination]
            self._folder = self._said("mktemp -d -t edgebudget-XXXXXX")
            stack.callback(self._leave)
            self._send(Path(__file__).parent / "guest" / FACTS, FACTS)
            self._facts = parse_facts(self._said(f"sh {self._folder}/{FACTS}"))
            self._python = self._said(_PYTHON)
            self._tools = self._toolchain()
            self._brought = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgebudget-payload-")))
            write_payload(self._brought, self._tools, None)
            self._send(self._brought, ".")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    @property
    def board(self) -> Board:
        """What the machine says about itself."""
        return Board(self._facts.core, self._facts.ram_bytes, None)

    def require(self, backend: Backend) -> None:
        """Raise MeasurementError when the machine lacks a package, UsageError for a backend that needs torch there."""
        for package in backend.runs_on:
            if package == "torch":
                raise UsageError(
                    f"The backend {backend.name!r} needs torch on the board, which this does not bring.",
                    "Give --backend executorch-xnnpack, executorch or onnxruntime.",
                )
            if package == "executorch":
                self._bring_runner()
                continue
            try:
                self._installed[package] = self._said(f"{self._python} -c {shlex.quote(_VERSION)} {package}")
            except MeasurementError as error:
                raise MeasurementError(
                    f"The board's {self._python} has no {package}.",
                    "Install it there with: python3 -m venv ~/edgebudget-venv && "
                    f"~/edgebudget-venv/bin/pip install {' '.join(backend.runs_on)}",
                ) from error

    def observe(self, backend: Backend, prepared: Prepared) -> Observation:
        """Run the workers there; raise MeasurementError when one fails or takes more than RUN_SECONDS."""
        path = prepared.artefact.path
        assert path is not None
        names = [f"input{path.suffix}", *further_names(backend, path.suffix)]
        there = " ".join(names)
        self._send(path, names[0])
        try:
            self._said(f"cd {self._folder} && for name in {' '.join(names[1:])}; do ln {names[0]} $name; done")
            return joined([self._observe_once(backend, prepared.subject, name) for name in names])
        finally:
            self._run(f"cd {self._folder} && rm -f {there}", SSH_SECONDS)

    def _observe_once(self, backend: Backend, subject: Subject, name: str) -> Observation:
        programs = Programs(self._python, lambda: f"{self._folder}/{RUNNER}")
        command = backend.command(subject, f"{self._folder}/{name}", programs, THREADS, backend.runs)
        settings = {**PINNED, **worker_settings(self._folder, f"{self._folder}/lib")}
        line = shlex.join(["env", *(f"{key}={value}" for key, value in settings.items()), *command])
        result = self._run(f"sh -c {shlex.quote(_GUARDED.format(command=line))}", RUN_SECONDS)
        if result.returncode == 137:
            raise MeasurementError("The run was killed, for want of memory as it seems.")
        if result.returncode != 0:
            raise MeasurementError(f"The run ended with {result.returncode}: {last_line(result.stderr)}")
        return parse_observation(result.stdout)

    def provenance(self, backend: Backend) -> Provenance:
        """Return what the machine says about itself, and the packages that it has or was brought."""
        there = {name: self._installed[name] for name in backend.runs_on if name in self._installed}
        return provenance(backend, self._facts, there, backend.runs, self.board)

    def _toolchain(self) -> Toolchain:
        if self._facts.machine == "aarch64":
            require_tools((AARCH64.c, AARCH64.cpp), "A board with a 64-bit Arm processor")
            return AARCH64
        if self._facts.machine == "x86_64":
            return NATIVE
        raise MeasurementError(f"The board is of the kind {self._facts.machine}.", "Only aarch64 and x86_64 are known.")

    def _bring_runner(self) -> None:
        if self._has_runner:
            return
        package = (
            package_folder("Its runner") if self._tools is NATIVE else board_image(recipe(), self._tell).executorch
        )
        self._tell("Copying the ExecuTorch runner and its libraries to the board")
        write_payload(self._brought, self._tools, package)
        self._send(self._brought, ".")
        self._send(package / "lib", "lib")
        self._installed["executorch"] = metadata.version("executorch")
        self._has_runner = True

    def _send(self, source: Path, target: str) -> None:
        """Copy a file, or what is in a folder, to `target` below the folder there."""
        there = shlex.quote(f"{self._folder}/{target}")
        if source.is_dir():
            pack, unpack = ["tar", "-c", "-h", "-C", str(source), "."], f"mkdir -p {there} && tar -x -C {there}"
        else:
            pack, unpack = ["cat", str(source)], f"cat >{there}"
        with subprocess.Popen(pack, stdout=subprocess.PIPE) as packing:
            result = self._run(unpack, SSH_SECONDS, packing.stdout)
        if result.returncode != 0 or packing.returncode != 0:
            raise MeasurementError(f"Copying {source.name} to the board failed: {last_line(result.stderr)}")

    def _said(self, command: str) -> str:
        result = self._run(command, SSH_SECONDS)
        if result.returncode == 255:  # ssh's own
            raise MeasurementError(
                f"There is no connection to {self._destination[-1]}: {last_line(result.stderr)}.",
                "It has to work without a password: ssh-copy-id puts your key there.",
            )
        if result.returncode != 0:
            raise MeasurementError(f"The board could not run {command.split()[0]}: {last_line(result.stderr)}.")
        return result.stdout.strip()

    def _run(
        self, command: str, timeout_seconds: float, given: IO[bytes] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run a line of shell there. Without `given` its input is empty, and ends when this process does."""
        reading, writing = os.pipe()
        try:
            return subprocess.run(
                [*self._ssh, command],
                stdin=given or reading,
                capture_output=True,
                text=True,
                timeout=timeout_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise MeasurementError(f"It took more than {timeout_seconds:.0f} s.") from None
        finally:
            os.close(reading)
            os.close(writing)

    def _leave(self) -> None:
        self._run(f"rm -rf {self._folder}", SSH_SECONDS)
        subprocess.run([self._ssh[0], "-O", "exit", *self._ssh[1:]], capture_output=True, check=False)
