"""`devices lint`: each finding with its line and column."""

from pathlib import Path

import pytest

from edgebudget.errors import ProfileError
from edgebudget.profiles.lint import Finding, lint_paths
from tests.profile_texts import SOURCED, UNREADABLE, write


def lint(folder: Path, text: str) -> list[Finding]:
    return list(lint_paths([Path(write(folder, text))]))


def test_a_sourced_profile_is_clean(tmp_path: Path) -> None:
    assert lint(tmp_path, SOURCED) == []


@pytest.mark.parametrize(
    ("old", "new", "place", "field", "words"),
    [
        ("4 GiB", "4 GB", (6, 3), "memory.ram", "ambiguous"),
        ("storage:", "storge:", (9, 1), "storge", "did you mean storage or"),
        ("class: sbc\n", "", (1, 1), "class", "missing"),
        ("ram: 4 GiB", "ram: 2 GiB", (7, 3), "memory.idle_available", "3.00 GiB is above memory.ram, 2.00 GiB"),
        ("ram: 4 GiB", "ram: 4 GiB\n  os_visible: 5 GiB", (7, 3), "memory.os_visible", "is above memory.ram"),
        ("ram: 4 GiB", "ram: 4 GiB\n  os_visible: 2 GiB", (8, 3), "memory.idle_available", "is above memory.os_vis"),
        ("ram: 4 GiB", "ram: 4 GiB\n  os_visible: 2 GiB", (5, 1), "memory", "the budget, 2.40 GiB, is above"),
        ("ram: 4 GiB", "ram: 4 GiB\n  process_limit: 5 GiB", (7, 3), "memory.process_limit", "is above memory.ram"),
        ("32 GB", "32 GB, available_for_model: 33 GB", (9, 28), "storage.available_for_model", "is above storage"),
        ("safety_margin: 20%", "safety_margin: 100%", (5, 1), "memory", "a budget of 0 bytes"),
        ("ram: 4 GiB", "ram: 4 GiB\n  os_visible: 3.5 GiB", (7, 3), "memory.os_visible", "has no source"),
        ("ram: 4 GiB", "ram: 4 GiB\n  regions: [{name: a, size: 5 GiB}]", (7, 3), "memory.regions", "add up to more"),
        ("ram: 4 GiB", "ram: 4 GiB\n  process_limit: 2 GiB\n  regions: [{name: a, size: 1 GiB}]", (7, 3),
         "memory.process_limit", "2.00 GiB is above the largest of memory.regions, 1.00 GiB"),
        ("default_runtime", "accelerators: [{name: NPU}]\ndefault_runtime", (11, 1), "accelerators", "has no source"),
        ("cortex-a72", "cortex-a72, cortex-z9", (10, 41), "cpu.cores[1]", "is not in the table of cores"),
        ("field: memory.ram", "field: memory.rom", (13, 6), "sources[0].field", "there is no 'memory.rom'"),
        ("field: memory.ram", "field: memory.rom", (6, 3), "memory.ram", "has no source"),
        ("default_runtime", "dtypes: {int4: native}\ndefault_runtime", (11, 10), "dtypes.int4", "has no source"),
        (
            "default_runtime",
            "runtimes: {pytorch: {overhead: 1 MiB}}\ndefault_runtime",
            (11, 22),
            "runtimes.pytorch.overhead",
            "has no source",
        ),
        ("name: board", "name: bord", (2, 1), "name", "write 'name: board'"),
        ("class: sbc", "class: sbc\nextends: nobody", (5, 1), "extends", "no profile is called 'nobody'"),
        ("class: sbc", "class: sbc\nextends: board", (5, 1), "extends", "board -> board"),
    ],
)  # fmt: skip
def test_finding_has_its_place(
    old: str, new: str, place: tuple[int, int], field: str, words: str, tmp_path: Path
) -> None:
    assert old in SOURCED
    findings = lint(tmp_path, SOURCED.replace(old, new, 1))
    matching = [finding for finding in findings if finding.field == field and words in finding.message]
    assert [(finding.line, finding.column) for finding in matching] == [place], findings


@pytest.mark.parametrize("case", UNREADABLE)
def test_unreadable_file_is_a_finding(case: str, tmp_path: Path) -> None:
    text, place, words = UNREADABLE[case]
    (finding,) = lint(tmp_path, text)
    assert f"{finding.line}:{finding.column}" == place
    assert words in finding.message
    assert str(finding).startswith(f"{tmp_path / 'board.yaml'}:{place}: ")


def test_aliases_of_a_folder_clash(tmp_path: Path) -> None:
    for stem in ("one", "two"):
        write(tmp_path, SOURCED.replace("name: board", f"name: {stem}\naliases: [mine, two]"), stem)
    found = {(Path(finding.file).stem, finding.field, finding.message) for finding in lint_paths([tmp_path])}
    assert found == {
        ("one", "aliases[0]", "'mine' is also a name in two.yaml; take it out of one of them"),
        ("one", "aliases[1]", "'two' is also a name in two.yaml; take it out of one of them"),
        ("two", "aliases[0]", "'mine' is also a name in one.yaml; take it out of one of them"),
        ("two", "aliases[1]", "'two' is also a name in one.yaml; take it out of one of them"),
        ("two", "aliases[1]", "'two' is also a name in two.yaml; take it out of one of them"),
    }


def test_a_changed_figure_needs_a_source_of_its_own(tmp_path: Path) -> None:
    """A child that changes a figure cannot rest on its parent's source."""
    write(tmp_path, SOURCED)
    child = "schema_version: 1\nname: child\nextends: board\nmemory: {ram: 8 GiB}\n"
    (finding,) = lint_paths([Path(write(tmp_path, child, "child"))])
    assert (finding.field, finding.line, finding.column) == ("memory.ram", 4, 10)


def test_slow_memory_may_exceed_the_chips_ram(tmp_path: Path) -> None:
    regions = "  regions: [{name: psram, size: 8 GiB, speed: slow}]\n  ram:"
    source = "  - {field: memory.regions, title: data sheet, read_on: 2026-11-21, confidence: verified}\n"
    assert lint(tmp_path, SOURCED.replace("  ram:", regions) + source) == []


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"neither a folder nor a \.yaml file"):
        lint_paths([tmp_path / "nothing"])
