"""A figure of a shipped profile may only change together with its source."""

import copy

import pytest

from tests.profile_figures import current, recorded, unsourced_changes

CURRENT = current()


def test_no_figure_has_changed_without_its_source() -> None:
    """Where one has, correct its source as well; `python -m tests.write_gold` then records both."""
    assert unsourced_changes(recorded(), CURRENT) == []


def test_every_device_is_recorded() -> None:
    """A device that is not, nobody watches: `python -m tests.write_gold` records it."""
    assert set(CURRENT) <= set(recorded())


@pytest.mark.parametrize("field", ["memory.ram", "memory.idle_available", "storage.capacity"])
def test_changing_one_is_noticed(field: str) -> None:
    changed = copy.deepcopy(CURRENT)
    changed["raspberrypi-4b-4gb"][field][0] = '"8 GiB"'
    (sentence,) = unsourced_changes(CURRENT, changed)
    assert sentence.startswith(f"raspberrypi-4b-4gb: {field} was ")
    changed["raspberrypi-4b-4gb"][field][1] = "Another data sheet (2026-11-21, verified)"
    assert unsourced_changes(CURRENT, changed) == []


def test_what_is_new_or_gone_is_no_change() -> None:
    fewer = {name: dict(fields) for name, fields in CURRENT.items() if name != "rp2040"}
    del fewer["rp2350"]["memory.ram"]
    assert unsourced_changes(CURRENT, fewer) == unsourced_changes(fewer, CURRENT) == []
