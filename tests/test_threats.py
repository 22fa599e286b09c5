"""What the world may do to the program: odd machines, odd moments, odd arguments. README's threat list names these."""

import ast
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgebudget.cli import main
from edgebudget.cli.app import COMMANDS
from tests.sweeps import hear_interrupts

ROOT = Path(__file__).parents[1]
MODEL = """
import torch
from torch import nn

def tiny():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), (torch.zeros(1, 3, 8, 8),)
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("models") / "tiny.py"
    path.write_text(MODEL)
    return f"{path}:tiny"


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "edgebudget", *arguments]


def environment(**changes: str | None) -> dict[str, str]:
    changed = {**os.environ, "PYTHONPATH": str(ROOT), **changes}
    return {name: value for name, value in changed.items() if value is not None}


def run(*arguments: str, flags: tuple[str, ...] = (), **changes: str | None) -> "subprocess.CompletedProcess[str]":
    """Run the program in a process without a terminal, its environment changed."""
    return subprocess.run(
        [sys.executable, *flags, "-m", "edgebudget", *arguments],
        env=environment(**changes),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
        start_new_session=True,
    )


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "home"
    folder.mkdir()
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)


@pytest.mark.parametrize("home", ["read-only", "missing", "unset"])
def test_the_home_folder_is_not_needed(tiny: str, read_only: Path, tmp_path: Path, home: str) -> None:
    homes = {"read-only": str(read_only), "missing": str(tmp_path / "none"), "unset": None}
    done = run("check", tiny, "--device", "raspberrypi", "--dtype", "float32", HOME=homes[home], XDG_CACHE_HOME=None)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("GO")
    assert list(read_only.iterdir()) == []
    assert not (tmp_path / "none").exists()


def test_an_ascii_locale_and_no_terminal(tiny: str, tmp_path: Path) -> None:
    odd = tmp_path / "größe.py"
    odd.write_text(MODEL)
    done = run(
        "check", f"{odd}:tiny", "--device", "raspberrypi", "--dtype", "float32", "--out", str(tmp_path / "out"),
        LANG="C", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", TERM=None, COLUMNS=None,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout
    model = json.loads((tmp_path / "out" / "raspberrypi.json").read_text("utf-8"))["results"][0]["model"]
    assert "größe".encode() in model.encode("utf-8", "surrogateescape")  # as Python has arguments in such a locale


def test_warnings_as_errors_and_nothing_left_open(tiny: str, tmp_path: Path) -> None:
    done = run(
        "check", tiny, "--device", "raspberrypi", "--dtype", "float32", "--out", str(tmp_path), "-q",
        flags=("-W", "error"),
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    listed = run("devices", "list", flags=("-X", "dev", "-W", "error"))
    assert (listed.returncode, listed.stderr) == (0, "")


def test_the_same_input_gives_the_same_bytes_but_for_the_date(tiny: str, tmp_path: Path) -> None:
    texts = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        formats = "text,csv,json,md,html,junit"
        done = run(
            "check", tiny, "--device", "raspberrypi", "--dtype", "float32,int8", "--format", formats, "--out", str(out),
            "-q", PYTHONHASHSEED=seed,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        written = {path.name: path.read_text("utf-8") for path in sorted(out.iterdir())}
        texts.append(
            {name: re.sub(r"20\d\d-\d\d-\d\d[T ][\d:]+(\+00:00|Z| UTC)?", "DATE", t) for name, t in written.items()}
        )
    assert len(texts[0]) == 6
    assert texts[0] == texts[1]


def test_two_runs_at_once_leave_one_whole_report(tiny: str, tmp_path: Path) -> None:
    arguments = command("check", tiny, "--device", "raspberrypi", "--dtype", "float32", "--out", str(tmp_path), "-q")
    runs = [subprocess.Popen(arguments, env=environment(), stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=300)[1] for process in runs] == ["", ""]
    assert [process.returncode for process in runs] == [0, 0]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".csv", ".html", ".json", ".md"]
    assert json.loads((tmp_path / "raspberrypi.json").read_text("utf-8"))["decision"] == "GO"


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB; skips where one cannot be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting needs privileges")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_old_report(tiny: str, full_disk: Path) -> None:
    (full_disk / "raspberrypi.md").write_text("old")
    (full_disk / "filler").write_bytes(b"x" * 52 * 1024)
    before = sorted(path.name for path in full_disk.iterdir())
    done = run("check", tiny, "--device", "raspberrypi", "--out", str(full_disk), "-q")
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in full_disk.iterdir()) == before
    assert (full_disk / "raspberrypi.md").read_text() == "old"


def test_a_full_disk_keeps_what_a_sweep_has(tiny: str, full_disk: Path) -> None:
    (full_disk / "filler").write_bytes(b"x" * 56 * 1024)
    table = full_disk / "zoo.csv"
    arguments = ("sweep", tiny, tiny.replace(":tiny", ":none"), "--device", "all", "--out", str(table), "-q")
    done = run(*arguments)
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert not table.exists()
    (full_disk / "filler").unlink()
    done = run(*arguments[:4], "raspberrypi", *arguments[5:])
    assert "other options" in done.stderr  # the part file is still whole, and known for what it is


@pytest.mark.parametrize("moment", [0.3, 0.9, 1.5, 4.0])
def test_ctrl_c_at_any_moment(tiny: str, tmp_path: Path, moment: float) -> None:
    process = subprocess.Popen(
        command("check", tiny, "--device", "all", "--out", str(tmp_path / "out"), "-q"),
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hear_interrupts,
    )
    time.sleep(moment)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode in (0, 1, 130, -signal.SIGINT)
    assert "Traceback" not in err
    if process.returncode == 130:
        assert err == "edgebudget: interrupted\n"
    if (tmp_path / "out").exists():
        assert all(path.suffix in (".csv", ".html", ".json", ".md") for path in (tmp_path / "out").iterdir())


def test_no_duration_is_taken_from_a_clock_that_may_jump() -> None:
    wall_clocks = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "time.localtime"}
    for path in (ROOT / "edgebudget").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in wall_clocks:
                # dates that are written down, and nothing else
                assert name == "datetime.now", path


NASTY = st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(
    ["\x1b[31mred", "a\nb", "../../etc/passwd", "=1+1", "<script>alert(1)</script>", "\u202eevil", "%s%n", "-", "",
     "$(touch x)", "a" * 5000, "nul\0", "raspberrypi", "all", "*", "[", "resnet18:", ":", "x.pt2", "x.yaml", "1x3"]
)  # fmt: skip
OPTIONS = st.sampled_from(
    ["--device", "--dtype", "--runtime", "--input", "--batch", "--format", "--calibration", "--headroom",
     "--jobs", "--resolution", "--plan", "--timeout", "--memory-limit", "--backend", "--address", "-q"]
)  # fmt: skip
# What these take is a model, which is code of the user's own choice: only names that are none are drawn.
QUICK = sorted(set(COMMANDS.names()) - {"measure", "calibrate", "validate", "devices"})


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from([*QUICK, "devices"]), words=st.lists(NASTY | OPTIONS, max_size=6))
def test_no_command_line_breaks_the_program(
    name: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    # a dtype there is not: nothing is estimated, whatever the rest says
    guard = [] if name == "devices" else ["--dtype", "none"]
    code = main([name, *words, *guard])
    out, err = capfd.readouterr()
    assert code in (0, 2)
    assert "Traceback" not in err
    assert "internal error" not in err
    assert "\x1b" not in out + err
    assert all(line.startswith("edgebudget: ") for line in err.splitlines())
    assert code == 0 or err or out
    assert list(tmp_path.iterdir()) == []
