"""Emulated boards and a machine over ssh, for real: `make test-board`."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgebudget.measure import BACKENDS
from edgebudget.measure.boards.emulated import EmulatedBoard
from edgebudget.measure.boards.host_tools import PACKAGES, find_tool
from edgebudget.measure.boards.machine import Hardware, JobTimeoutError
from edgebudget.measure.boards.over_ssh import BoardOverSsh
from edgebudget.measure.campaign import measure
from edgebudget.measure.interface import Failure, Measurement, Subject
from tests.sweeps import hear_interrupts

pytestmark = [
    pytest.mark.board,
    pytest.mark.skipif(sys.platform != "linux", reason="QEMU's machine is made from Debian's packages"),
    pytest.mark.skipif(any(find_tool(name) is None for name in PACKAGES), reason=f"needs {', '.join(PACKAGES)}"),
]
ROOT = Path(__file__).parents[1]
KEYWORD = ("edgebudget.measure.zoo:keyword_cnn", ("1x1x49x10:float32",))
SMALL = Hardware("cortex-a53", 512 << 20)
XNNPACK = Subject(*KEYWORD, "executorch-xnnpack", "float32")


def test_a_small_model_on_a_small_board() -> None:
    with EmulatedBoard(SMALL, print) as board:
        (measured,) = measure([XNNPACK], board)
    assert isinstance(measured, Measurement), measured
    where = measured.provenance
    assert where.board is not None
    assert (where.board.core, where.board.ram_bytes, where.isa) == ("cortex-a53", 512 << 20, "armv8-a")
    assert (where.libc, where.kernel.split()[0], where.cpu) == ("glibc 2.41", "Linux", "0x41 (CPU part 0xd03)")
    assert "QEMU" in (where.board.emulator or "")
    assert where.kernel.endswith("transparent huge pages: never")
    # 4 bytes a weight, packed: a little over what x86-64 packs, since Arm's operators name more kernels
    assert 93_000 < measured.load_heap_bytes < 250_000
    assert measured.inference_heap_bytes > measured.load_heap_bytes


@pytest.mark.slow
def test_every_runtime_on_a_newer_core(tmp_path: Path) -> None:
    subjects = [Subject(*KEYWORD, name, "float32") for name in ("executorch", "executorch-xnnpack", "onnxruntime")]
    with EmulatedBoard(Hardware("cortex-a76", 1024 << 20), print) as board:
        results = list(measure(subjects, board))
    assert [result for result in results if isinstance(result, Failure)] == []
    measured = [result for result in results if isinstance(result, Measurement)]
    assert {m.provenance.isa for m in measured} == {"armv8.2-a"}
    assert [len(m.observation.process_peaks) for m in measured] == [1, 1, BACKENDS.get("onnxruntime").processes]


@pytest.mark.slow
def test_the_kernel_is_the_judge_and_the_board_goes_on(tmp_path: Path) -> None:
    model = tmp_path / "models.py"
    model.write_text(
        "import torch\ndef large():\n    return torch.nn.Linear(6000, 5000), torch.zeros(1, 6000)\n"
        "def small():\n    return torch.nn.Linear(60, 50), torch.zeros(1, 60)\n"
    )
    shapes = {"large": ("1x6000:float32",), "small": ("1x60:float32",)}
    subjects = [Subject(f"{model}:{name}", shape, "executorch-xnnpack", "float32") for name, shape in shapes.items()]
    with EmulatedBoard(Hardware("cortex-a53", 160 << 20), print) as board:  # the weights alone are 114 MiB
        large, small = measure(subjects, board)
    assert isinstance(large, Failure)
    assert "The board's kernel killed the run" in large.reason
    assert isinstance(small, Measurement), small


@pytest.mark.slow
def test_a_job_that_takes_too_long_takes_the_board_with_it_and_nothing_else() -> None:
    with EmulatedBoard(SMALL, print) as board:
        machine = board.switched_on()
        with pytest.raises(JobTimeoutError, match="within 1 s"):
            machine.run("sleep 60", {}, 1.0)
        board.switch_off()
        assert board.switched_on().run("echo again", {}, 60.0).stdout == "again\n"


@pytest.mark.slow
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_running_when_it_is_stopped(signal_number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgebudget", "measure", KEYWORD[0], "--backend", "executorch-xnnpack"]
    process = subprocess.Popen(
        [*command, "--board", "cortex-a72"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=hear_interrupts,
    )
    deadline = time.monotonic() + 240
    while not (emulators := _children(process.pid, "qemu-system-aarch64")) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert emulators
    process.send_signal(signal_number)
    process.communicate(timeout=60)
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in emulators) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{pid}").exists() for pid in emulators)
    if signal_number == signal.SIGINT:
        assert process.returncode == 130


def _children(parent: int, name: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")
            command = (folder / "cmdline").read_text().split("\0")[0]
        except OSError:
            continue
        if int(fields[2].split()[1]) == parent and command.endswith(name):
            found.append(int(folder.name))
    return found


@pytest.fixture
def destination(tmp_path: Path) -> Iterator[str]:
    """What reaches a server of ours on the loopback, with a home whose `edgebudget-venv` is this environment."""
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if sshd is None or os.getuid() != 0:
        pytest.skip("needs sshd, and the rights to let somebody in")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    home, there = tmp_path / "home", tmp_path / "there"
    home.mkdir()
    there.mkdir()
    (home / "edgebudget-venv").symlink_to(sys.prefix)
    Path("/run/sshd").mkdir(exist_ok=True)
    (tmp_path / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/user.pub\n"
        f"StrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\nSetEnv HOME={home} TMPDIR={there}\n"
    )
    with subprocess.Popen([sshd, "-D", "-e", "-f", str(tmp_path / "config")], stderr=subprocess.DEVNULL) as server:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield (
            f"-p {port} -i {tmp_path}/user -o StrictHostKeyChecking=no -o UserKnownHostsFile={tmp_path}/known"
            " -o LogLevel=ERROR root@127.0.0.1"
        )
        server.terminate()


@pytest.mark.slow
def test_a_machine_over_ssh_measures_as_it_does_alone(destination: str, tmp_path: Path) -> None:
    subjects = [Subject(*KEYWORD, name, "float32") for name in ("executorch-xnnpack", "onnxruntime")]
    with BoardOverSsh(destination, print) as board:
        assert len(list((tmp_path / "there").glob("edgebudget-*"))) == 1
        results = list(measure(subjects, board))
    assert [result for result in results if isinstance(result, Failure)] == []
    xnnpack = results[0]
    assert isinstance(xnnpack, Measurement)
    assert xnnpack.provenance.board is not None
    assert xnnpack.provenance.board.emulator is None
    onnx = results[1]
    assert isinstance(onnx, Measurement)
    assert len(onnx.observation.process_peaks) == BACKENDS.get("onnxruntime").processes
    assert list((tmp_path / "there").glob("edgebudget-*")) == [], "nothing stays there"


@pytest.mark.slow
def test_a_machine_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgebudget", "measure", KEYWORD[0], "--backend", "executorch-xnnpack"]
    done = subprocess.run(
        [*command, "--ssh", "-p 1 root@127.0.0.1"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert "There is no connection to root@127.0.0.1: " in done.stderr
    assert "Traceback" not in done.stderr
