"""What `devices list` and `devices show` say."""

from pathlib import Path

from edgebudget.profiles import load_profile, resolve_devices
from edgebudget.profiles.show import LIST_HEADINGS, SHOW_HEADINGS, detail_rows, device_rows, list_text, show_text
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
    assert values["runtimes.tflite-micro"] == "default"
    assert all(len(row.cells()) == len(SHOW_HEADINGS) for row in rows)
    assert len(show_text(load_profile("stm32f746-disco")).splitlines()) == len(rows) + 1


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
