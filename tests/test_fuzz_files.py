"""Every kind of file that the program reads, as any bytes and as a right one with something wrong in it."""

import io
import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgebudget.cli import main
from edgebudget.errors import UsageError
from edgebudget.evidence import DATA
from edgebudget.measure.cuda.records import to_json_line
from edgebudget.sweeping.journal import open_journal
from edgebudget.sweeping.plan import Unit
from edgebudget.sweeping.rows import Failure, failed
from tests.handmade import GOLD
from tests.test_measure_cuda import sample, subject

ROOT = Path(__file__).parents[1]
NET = """
import torch

def tiny():
    return torch.nn.Conv2d(3, 4, 3), (torch.zeros(1, 3, 8, 8),)
"""
CHECK = ("check", "NET", "--device", "raspberrypi", "--format", "text", "-q")


def saved(save: Callable[[io.BytesIO], object]) -> Callable[[], bytes]:
    def make() -> bytes:
        buffer = io.BytesIO()
        save(buffer)
        return buffer.getvalue()

    return make


def program() -> bytes:
    return saved(lambda to: torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), to))()


def safetensors() -> bytes:
    from safetensors.torch import save

    return save({"weight": torch.zeros(4, 3, 3, 3)})


def first_line(path: Path) -> bytes:
    return path.read_bytes().splitlines(keepends=True)[0]


@dataclass(frozen=True)
class Kind:
    """How a file is read, FILE for where it stands, and a right one."""

    words: tuple[str, ...]
    right: Callable[[], bytes]


KINDS = {
    "calibration.json": Kind(
        (*CHECK, "--dtype", "float32", "--calibration", "FILE"),
        lambda: (ROOT / "edgebudget/calibration/fits/recorded.json").read_bytes(),
    ),
    "baseline.json": Kind(
        (*CHECK, "--dtype", "float32", "--baseline", "FILE"), lambda: (GOLD / "report.json").read_bytes()
    ),
    "measurements.jsonl": Kind(("validate", "--data", "FILE", "-q"), lambda: first_line(DATA / "build.jsonl")),
    "cuda.jsonl": Kind(("validate", "--data", "FILE", "-q"), lambda: to_json_line(sample(subject())).encode() + b"\n"),
    "mixed.yaml": Kind((*CHECK, "--dtype", "FILE"), lambda: b"default: int8\nmodules:\n  '*': float32\n"),
    "edgebudget.yaml": Kind(
        ("check", "-q", "--format", "text"),
        lambda: (
            b"models: [NET]\ndevices: [raspberrypi]\ndtypes: [float32]\n"
            b"policy: {headroom: 10%, allow-marginal: false, max-growth: 5%}\n"
        ),
    ),
    "pyproject.toml": Kind(
        ("check", "-q", "--format", "text"),
        lambda: (
            b'[tool.edgebudget]\nmodels = ["NET"]\ndevices = ["raspberrypi"]\ndtypes = ["float32"]\n'
            b'[tool.edgebudget.policy]\nheadroom = "10%"\n'
        ),
    ),
    "plan.yaml": Kind(
        ("sweep", "--plan", "FILE", "--dtype", "none", "--out", "zoo.csv", "-q"),
        lambda: b"schema_version: 1\nmodels: [NET]\nresolutions: [default, 224]\ndevices: [raspberrypi]\n",
    ),
    "device.yaml": Kind(
        ("devices", "show", "FILE"),
        lambda: (
            (ROOT / "device_profiles/raspberrypi-zero-2-w.yaml")
            .read_bytes()
            .replace(b"name: raspberrypi-zero-2-w", b"name: device", 1)
        ),
    ),
    "model.pt2": Kind(("check", "FILE", "--device", "raspberrypi", "--dtype", "float32", "-q"), program),
    "weights.pt": Kind(
        ("inspect", "NET", "--weights", "FILE", "-q"),
        saved(lambda to: torch.save({"weight": torch.zeros(4, 3, 3, 3)}, to)),
    ),
    "weights.safetensors": Kind(("inspect", "NET", "--weights", "FILE", "-q"), safetensors),
}
# What these say is optional in every part: an empty one is right.
LENIENT = {"measurements.jsonl", "cuda.jsonl", "mixed.yaml", "edgebudget.yaml", "pyproject.toml", "plan.yaml"}
ANY = st.binary(max_size=300) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode())  # fmt: skip
PIECES = st.binary(max_size=8) | st.sampled_from(
    [b"", b"-1", b"1e999", b"99999999999999999999", b"null", b"[]", b"{}", b'"', b"'", b": ", b"\n", b"\0", b"\xff",
     b"*a", b"&a ", b"!!python/object:os.system ", b"\xe2\x80\xae", b"\x1b[31m", b"[" * 2000]
)  # fmt: skip
fuzzed = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("nets") / "net.py"
    path.write_text(NET)
    return f"{path}:tiny"


@pytest.fixture
def read(
    net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[[str, bytes], tuple[int, str, str]]:
    monkeypatch.chdir(tmp_path)

    def run(name: str, data: bytes) -> tuple[int, str, str]:
        path = tmp_path / name
        path.write_bytes(data)
        places = {"FILE": str(path), "NET": net}
        code = main([places.get(word, word) for word in KINDS[name].words])
        out, err = capfd.readouterr()
        assert code in (0, 1, 2)
        assert "Traceback" not in err
        assert "internal error" not in err
        assert "\x1b" not in out + err
        if code == 2 and not out:
            assert re.fullmatch(r"(edgebudget: [^\n]*\n)+", err)
        assert path.read_bytes() == data
        assert [found.name for found in tmp_path.iterdir()] == [name]
        return code, out, err

    return run


@pytest.mark.parametrize("name", KINDS)
@settings(parent=fuzzed, max_examples=40)
@given(data=ANY)
def test_any_bytes_are_one_sentence_that_names_the_file(
    name: str, data: bytes, read: Callable[[str, bytes], tuple[int, str, str]]
) -> None:
    code, out, err = read(name, data)
    if name in LENIENT and (code != 2 or name not in err):
        # nothing in it, or nothing that is for us: as if there were no file, or none of its parts
        assert not err or code == 2
        return
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert name in err


@pytest.mark.parametrize("name", KINDS)
@settings(parent=fuzzed, max_examples=25)
@given(data=st.data())
def test_a_right_file_with_something_wrong_in_it_breaks_nothing(
    name: str, data: st.DataObject, net: str, read: Callable[[str, bytes], tuple[int, str, str]]
) -> None:
    content = KINDS[name].right().replace(b"NET", net.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        content = content[:start] + data.draw(PIECES) + content[start + data.draw(st.integers(0, 40)) :]
    read(name, content)


@pytest.mark.parametrize("name", KINDS)
def test_the_right_file_is_read(name: str, net: str, read: Callable[[str, bytes], tuple[int, str, str]]) -> None:
    code, out, err = read(name, KINDS[name].right().replace(b"NET", net.encode()))
    if name == "plan.yaml":  # which asks for a dtype there is not, so that nothing is swept
        assert "none" in err
    else:
        assert (code in (0, 1), err) == (True, ""), err
        assert out


def part_file(path: Path) -> bytes:
    with open_journal(path, {"request": "x"}) as journal:
        for number in range(2):
            journal.add(failed(Unit(f"model{number}"), Failure.CRASH, "It died."))
    return path.read_bytes()


@settings(parent=fuzzed, max_examples=200)
@given(data=st.data())
def test_no_part_file_of_a_sweep_breaks_its_reader(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "zoo.csv.part"
    path.unlink(missing_ok=True)
    content = part_file(path)
    if data.draw(st.booleans()):
        content = data.draw(ANY) + b"\n"
    else:
        start = data.draw(st.integers(0, len(content)))
        content = content[:start] + data.draw(PIECES) + content[start + data.draw(st.integers(0, 40)) :]
    path.write_bytes(content)
    with suppress(UsageError), open_journal(path, {"request": "x"}) as journal:
        for unit in journal.places:
            assert journal.read(unit).unit == unit
        return
    assert path.read_bytes() == content  # what is not ours stays as it is
