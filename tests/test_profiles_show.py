"""What `devices list` and `devices show` say."""

from html import escape
from pathlib import Path

import pytest

from edgebudget.cli import main
from edgebudget.profiles import load_profile, resolve_devices
from edgebudget.profiles.show import (
    LIST_HEADINGS,
    SHOW_HEADINGS,
    detail_rows,
    device_rows,
    list_text,
    show_html,
    show_text,
)
from tests.profile_texts import VALID, write


def test_list_has_a_row_a_device() -> None:
    profiles = resolve_devices(["raspberrypi", "nrf52840-dk", "pixel-7"])
    board, mcu, phone = device_rows(profiles)
    assert (board.name, board.device_class, board.ram_bytes) == ("raspberrypi-4b-4gb", "sbc", 4 * 2**30)
    assert board.budget_bytes == profiles[0].budget_bytes
    assert "raspberrypi" in board.aliases
    assert not board.budget_is_estimated
    assert mcu.storage_bytes == profiles[1].storage.available_for_model_bytes
    assert phone.budget_is_estimated
    assert all(len(row.cells()) == len(LIST_HEADINGS) for row in (board, mcu, phone))
    lines = list_text((board, mcu, phone)).splitlines()
    assert len(lines) == 4
    assert lines[1].split()[:1] == ["raspberrypi-4b-4gb"]
    assert lines[3].endswith("estimated")


def test_show_gives_every_figure_with_its_source() -> None:
    profile = load_profile("stm32f746-disco")
    rows = detail_rows(profile)
    shown = {(row.field, row.title, row.confidence) for row in rows}
    assert {(source.field, source.title, source.confidence) for source in profile.sources} <= shown
    values = {row.field: row.value for row in rows}
    assert values["memory.ram"] == "320 KiB (327,680 B)"
    assert values["memory.regions"] == "SRAM1 and SRAM2 256 KiB (fast), DTCM 64.0 KiB (fast)"
    assert values["budget"] == "205 KiB (209,715 B)"
    assert values["runtimes.tflite-micro"].startswith("default, with the runtime")
    assert all(len(row.cells()) == len(SHOW_HEADINGS) for row in rows)
    text = show_text(profile)
    assert max(map(len, text.splitlines())) <= 80
    said = " ".join(text.split())
    assert all(row.value in said and row.title in said for row in rows)
    assert "verified, 2026-11-21: stm32-data, memory regions of STM32F746" in said


def test_show_gives_a_runtimes_overhead_with_its_source(tmp_path: Path) -> None:
    source = "  - {field: runtimes.pytorch.overhead, title: measured, read_on: 2026-11-21, confidence: verified}\n"
    text = VALID + source + "runtimes: {pytorch: {overhead: 90 MiB}}\n"
    rows = detail_rows(load_profile(write(tmp_path, text)))
    overhead = next(row for row in rows if row.field == "runtimes.pytorch.overhead")
    assert (overhead.value, overhead.title, overhead.confidence) == ("90.0 MiB (94,371,840 B)", "measured", "verified")


def test_show_gives_a_figure_without_a_source(tmp_path: Path) -> None:
    text = VALID + "runtimes: {pytorch: {overhead: 90 MiB}}\n"
    values = {row.field: (row.value, row.title) for row in detail_rows(load_profile(write(tmp_path, text)))}
    assert values["runtimes.pytorch.overhead"] == ("90.0 MiB (94,371,840 B)", "")
    assert values["memory.idle_available"] == ("3.00 GiB (3,221,225,472 B)", "")


def test_show_gives_every_source_of_every_device() -> None:
    for profile in resolve_devices(["all"]):
        shown = {(row.field, row.title) for row in detail_rows(profile)}
        assert {(source.field, source.title) for source in profile.sources if source.field.count(".")} <= shown


@pytest.mark.parametrize("name", ["raspberrypi", "coral-dev-board-1gb", "stm32f746-disco", "iphone-13-pro"])
def test_the_page_has_every_figure_with_its_source(name: str) -> None:
    profile = load_profile(name)
    page = show_html(profile)
    for source in profile.sources:
        assert escape(source.title, quote=False).replace("'", "&#39;").replace('"', "&#34;") in page
        assert f'<td class="{source.confidence}">{source.confidence}</td>' in page
    assert f'data-value="{profile.budget_bytes}"' in page
    assert ("Rests on estimates: " in page) is bool(profile.estimated_fields)
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_the_page_escapes_what_a_profile_says(tmp_path: Path) -> None:
    text = VALID.replace("display_name: Board", "display_name: '<b>\u202e&'")
    page = show_html(load_profile(write(tmp_path, text)))
    assert "&lt;b&gt;\\u202e&amp;" in page
    assert "<b>" not in page


def test_accelerators_are_shown() -> None:
    rows = detail_rows(load_profile("coral-dev-board-1gb"))
    (shown,) = [row for row in rows if row.field == "accelerators"]
    assert shown.value == "Edge TPU (int8): parameter cache 8.00 MiB for weights"
    assert (shown.confidence, shown.read_on) == ("likely", "2026-11-21")
    mode = {row.value for row in detail_rows(load_profile("imx93-evk")) if row.field == "accelerators"}
    assert any("Dedicated_Sram" in value and "SRAM 384 KiB as a cache" in value for value in mode)


def test_show_writes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "board.html"
    assert main(["devices", "show", "raspberrypi", "--format", "html", "--out", str(path)]) == 0
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert capsys.readouterr().out == ""
    assert main(["devices", "show", "raspberrypi", "--format", "pdf"]) == 2
    assert "Use one of text, html." in capsys.readouterr().err


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two third parties' folders of profiles: one for --profiles, one in EDGEBUDGET_PROFILES; both have a `board`."""
    named, variable = tmp_path / "named", tmp_path / "variable"
    for folder, display_name in ((named, "Named"), (variable, "Variable")):
        folder.mkdir()
        write(folder, VALID.replace("display_name: Board", f"display_name: {display_name}"))
    write(named, "schema_version: 1\nname: child\nextends: base\n", "child")
    write(variable, VALID.replace("name: board", "name: base"), "base")
    monkeypatch.setenv("EDGEBUDGET_PROFILES", str(variable))
    return named, variable


def test_folders_named_come_before_those_in_the_environment(
    theirs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    named, _ = theirs
    for folders, display_name in ([], "Variable"), (["--profiles", str(named)], "Named"):
        assert main(["devices", "show", "board", *folders]) == 0
        assert display_name in capsys.readouterr().out
    assert main(["devices", "list", "--profiles", str(named)]) == 0
    assert {"board", "child", "base", "raspberrypi-4b-4gb"} <= {
        line.split()[0] for line in capsys.readouterr().out.splitlines()
    }
    assert main(["devices", "show", "child", "--profiles", str(named)]) == 0  # what it extends is in the other folder


def test_a_folder_of_profiles_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["devices", "list"], ["devices", "lint"], ["check", "mobilenet_v2", "--device", "raspberrypy"]):
        assert main([*command, "--profiles", str(tmp_path / "nothing")]) == 2
        assert "nothing" in (said := capsys.readouterr().err)
        assert "existing" in said


def test_lint_takes_what_a_file_extends_from_the_folders(
    theirs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    named, variable = theirs
    main(["devices", "lint", str(named / "child.yaml"), "--profiles", str(variable)])
    assert "no profile is called" not in capsys.readouterr().out
