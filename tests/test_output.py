"""Files are written whole or not at all, and only where the user said."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebudget.cli.commands.check import by_file_stem
from edgebudget.cli.output import file_stem, prepare_folder, print_result, write_files
from edgebudget.errors import OutputError
from edgebudget.verdict import Decision
from tests.handmade import report, with_decision


def test_writes_and_replaces(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_files({target: "old"})
    write_files({target: "new\nß\ud800", tmp_path / "b.txt": "b"})
    assert target.read_bytes() == "new\nß\\ud800".encode()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt"]


def test_new_files_have_the_usual_mode(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_files({tmp_path / "a.txt": "a"})
        assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_a_failure_leaves_all_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="not a regular file"):
        write_files({tmp_path / "a.txt": "new", tmp_path / "folder": "x"})
    assert (tmp_path / "a.txt").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "folder"]


def test_a_failing_rename_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b.txt").write_text("old")
    replace_file = os.replace

    def second_fails(source: str, target: Path) -> None:
        if target.name == "b.txt":
            raise OSError(28, "No space left on device", str(target))
        replace_file(source, target)

    monkeypatch.setattr("os.replace", second_fails)
    with pytest.raises(OutputError, match="No space left"):
        write_files({tmp_path / "a.txt": "new", tmp_path / "b.txt": "new", tmp_path / "c.txt": "new"})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "new", "b.txt": "old"}


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    (tmp_path / "a.txt").symlink_to(victim)
    with pytest.raises(OutputError, match="symbolic link"):
        write_files({tmp_path / "a.txt": "new"})
    assert victim.read_text() == "kept"
    assert (tmp_path / "a.txt").is_symlink()


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file"):
        write_files({tmp_path / "none" / "a.txt": "new"})


def test_prepare_makes_folders(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_prepare_refuses_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "sub"):
        with pytest.raises(OutputError, match="Cannot write into"):
            prepare_folder(folder)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("raspberrypi-4b-4gb", "raspberrypi-4b-4gb"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("/abs", "_abs"),
        ("..", "unnamed"),
        ("", "unnamed"),
        (".hidden", "hidden"),
        ("a\\b:c\x00d", "a_b_c_d"),
        ("x" * 300, "x" * 100),
        ("linux-x86_64", "linux-x86_64"),
    ],
)
def test_device_names_are_no_paths(name: str, stem: str) -> None:
    assert file_stem(name) == stem


@given(st.text())
def test_no_name_leaves_the_folder(name: str) -> None:
    stem = file_stem(name)
    assert (Path("/out") / f"{stem}.json").parent == Path("/out")
    assert 0 < len(stem) <= 100


def test_no_two_devices_share_a_file() -> None:
    names = ["a/b", "a b", "a_b", "a_b"]
    whole = report(*(with_decision(Decision.GO, device=name) for name in dict.fromkeys(names)))
    parts = by_file_stem(whole, names)
    assert list(parts) == ["a_b", "a_b-2", "a_b-3"]
    assert [part.results[0].device for part in parts.values()] == ["a/b", "a b", "a_b"]


def test_stdout_takes_what_its_encoding_cannot_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "out"
    with path.open("w", encoding="ascii") as out:
        monkeypatch.setattr("sys.stdout", out)
        print_result("größe\n")
    assert path.read_text() == "gr\\xf6\\xdfe\n"
