"""Boards to measure on: what needs no board to be tested."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from edgebudget.cli import main
from edgebudget.errors import CalibrationError, MeasurementError, UsageError
from edgebudget.evidence import DATA, read_measurements
from edgebudget.measure.boards import host_tools
from edgebudget.measure.boards.cpio import newc
from edgebudget.measure.boards.emulated import CORES, EmulatedBoard
from edgebudget.measure.boards.host_tools import require_tools
from edgebudget.measure.boards.image import board_image
from edgebudget.measure.boards.machine import Hardware
from edgebudget.measure.boards.recipe import Recipe
from edgebudget.measure.boards.record import OPTIONS
from edgebudget.measure.campaign import append, recorded
from edgebudget.measure.facts import parse_facts
from edgebudget.measure.interface import Board, Failure, Subject
from edgebudget.measure.suite import SUITE, Part, data_file
from edgebudget.validation.board_cases import Case, Verified, confusion_table, parse_cases, to_json_line
from edgebudget.verdict import Decision

A72 = """kernel: Linux 6.12.107+deb13-arm64
machine: aarch64
libc: glibc 2.41
page_bytes: 4096
ram_bytes: 489246720
huge_pages: always [madvise] never
available_bytes: 462962688
python: 3.13.5
processor\t: 0
BogoMIPS\t: 125.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU part\t: 0xd08
"""
RECIPE = Recipe("trixie", ("python3",), "3.13", {"numpy": "2"}, ("ext4",), {})


def test_what_a_board_says_of_itself_is_read() -> None:
    facts = parse_facts(A72)
    assert (facts.core, facts.isa, facts.ram_bytes, facts.python) == ("cortex-a72", "armv8-a", 489_246_720, "3.13.5")
    assert facts.features == ("asimd",)
    assert facts.kernel == "Linux 6.12.107+deb13-arm64, transparent huge pages: madvise"
    assert parse_facts(A72.replace("always [madvise] never", "")).kernel.endswith("transparent huge pages: none")
    newer = parse_facts(A72.replace("cpuid", "cpuid asimdhp asimddp").replace("0xd08", "0xd0b"))
    assert (newer.core, newer.isa) == ("cortex-a76", "armv8.2-a")
    assert parse_facts(A72.replace("0x41", "0x51")).core == ""  # part numbers are each maker's own


@pytest.mark.parametrize(
    ("names", "packages"),
    [
        (("mke2fs",), "e2fsprogs"),
        (("debootstrap", "qemu-system-aarch64"), "debootstrap debian-archive-keyring qemu-system-arm"),
    ],
)
def test_missing_tools_are_named_with_the_command_that_installs_them(
    names: tuple[str, ...], packages: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_tools, "find_tool", lambda name: None)
    with pytest.raises(MeasurementError) as caught:
        require_tools((*names,), "Running a board")
    assert str(caught.value) == (
        f"Running a board needs {', '.join(names)}, which the PATH does not have. "
        f"Install them, on Debian or Ubuntu with: sudo apt install {packages}"
    )


def test_an_image_is_of_its_recipe_and_of_its_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "edgebudget" / "boards" / RECIPE.digest[:16]
    folder.mkdir(parents=True)
    (folder / "vmlinuz").write_bytes(b"a kernel")
    digest = "c7b06f2db6ea4ad4cb2d8b1db3e3c17d1e4d5b4f0e37b5bbca4c8d4a8ae6a3f0"  # of something else
    (folder / "manifest.json").write_text(json.dumps({"sha256": {"vmlinuz": digest}}))
    monkeypatch.setattr(host_tools, "find_tool", lambda name: None)
    told: list[str] = []
    with pytest.raises(MeasurementError, match=r"Making the image of a board needs debootstrap, dpkg-deb, mke2fs"):
        board_image(RECIPE, told.append)
    assert not folder.exists(), "a damaged image is never used"
    assert "vmlinuz" in told[0]
    assert list(folder.parent.iterdir()) == []


def test_every_part_of_a_recipe_is_in_its_digest() -> None:
    others = [replace(RECIPE, **{field.name: "other"}) for field in fields(RECIPE)]
    assert len({RECIPE.digest, *(other.digest for other in others)}) == len(others) + 1


def test_the_first_files_of_a_board_are_a_cpio_archive() -> None:
    archive = newc({"init": b"#!/busybox sh\n", "modules/a.ko": b"x" * 5})
    assert len(archive) % 4 == 0
    entries, at = [], 0
    while at < len(archive):
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        name = archive[at + 110 : at + 110 + fields[11] - 1].decode()
        start = at + (110 + fields[11] + 3) // 4 * 4
        entries.append((name, oct(fields[1]), archive[start : start + fields[6]]))
        at = start + (fields[6] + 3) // 4 * 4
    assert entries == [
        ("modules", "0o40755", b""),
        ("init", "0o100755", b"#!/busybox sh\n"),
        ("modules/a.ko", "0o100755", b"xxxxx"),
        ("TRAILER!!!", "0o0", b""),
    ]


def test_a_core_that_is_not_emulated_is_refused() -> None:
    with pytest.raises(UsageError, match="'cortex-m4'") as caught:
        EmulatedBoard(Hardware("cortex-m4", 1 << 30), print)
    assert all(core in str(caught.value) for core in CORES)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--memory", "512"], "--memory is the RAM of an emulated board"),
        (["--board", "cortex-a72", "--ssh", "pi@raspberrypi"], "--board is an emulated board and --ssh a real one"),
        (["--board", "cortex-x9"], "There is no board 'cortex-x9' to emulate"),
    ],
)
def test_places_that_do_not_go_together_are_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("executorch")
    assert main(["measure", "mobilenet_v2", "--backend", "executorch-xnnpack", *arguments]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_what_failed_on_one_board_is_tried_on_another(tmp_path: Path) -> None:
    path, subject = tmp_path / "out.jsonl", Subject("net", ("1:float32",), "executorch", "float32")
    small, large = Board("cortex-a53", 512 << 20, "QEMU"), Board("cortex-a53", 2048 << 20, "QEMU")
    append(path, Failure(subject, "killed", small))
    assert recorded(path, small) == {subject}
    assert recorded(path, large) == frozenset()


CASE = Case(
    "net", ("1:float32",), "executorch-xnnpack", "float32", "raspberrypi-zero-2-w", "cortex-a53", 512 << 20, "peak",
    1.0, 10_000_000, 0, False, False, 1.0, 100, 0, "2026-11-21T12:00:00Z", "Linux 6.12", "QEMU", {"executorch": "1.5"},
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "ending"),
    [
        ({}, "finished"),
        ({"refaulted_bytes": 2 << 20}, "finished"),
        ({"refaulted_bytes": (2 << 20) + 1}, "slowed"),
        ({"timed_out": True}, "slowed"),
        ({"killed_for_memory": True, "exit_code": 137, "refaulted_bytes": 9 << 20}, "killed"),
    ],
)
def test_how_a_run_ended(changes: dict[str, object], ending: str) -> None:
    assert replace(CASE, **changes).ending == ending  # type: ignore[arg-type]


def test_cases_are_counted_by_decision_and_ending() -> None:
    killed = replace(CASE, killed_for_memory=True)
    table = confusion_table(
        [Verified(CASE, Decision.GO), Verified(CASE, Decision.GO), Verified(killed, Decision.NO_GO)]
    )
    assert "| GO | 2 | 2 | 0 | 0 |" in table
    assert "| MARGINAL | 0 | 0 | 0 | 0 |" in table
    assert "| NO-GO | 1 | 0 | 0 | 1 |" in table


def test_cases_are_read_as_they_were_written() -> None:
    assert parse_cases(to_json_line(CASE) + "\n", "cases") == (CASE,)
    with pytest.raises(CalibrationError, match=r"^cases:2: not a case"):
        parse_cases(to_json_line(CASE) + "\n{}\n", "cases")


@pytest.mark.parametrize("part", ["build", "judge"])
@pytest.mark.parametrize("core", ["cortex-a53", "cortex-a72"])
def test_what_is_recorded_of_a_board_is_of_that_board_and_of_its_part(core: str, part: Part) -> None:
    parts = {entry.model: entry.part for entry in SUITE}
    measurements = read_measurements([data_file(DATA / core, part)])
    assert {m.provenance.board.core for m in measurements if m.provenance.board} == {core}
    assert {parts[m.subject.model] for m in measurements} == {part}
    assert {(m.subject.backend, m.subject.dtype) for m in measurements} == set(OPTIONS)
