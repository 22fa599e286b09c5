"""Finding profiles by name, alias, glob and path; `extends`; what conversion makes of them."""

import os
from pathlib import Path

import pytest

from edgebudget.errors import EdgeBudgetError, ProfileError, UnknownNameError, UsageError
from edgebudget.profiles import load_profile, profile_names, resolve_devices
from edgebudget.profiles.find import ProfileFile
from edgebudget.profiles.folders import profile_folders
from edgebudget.profiles.interface import MemoryRegion, Source
from edgebudget.profiles.lint import lint_paths
from edgebudget.profiles.load import load_file
from tests.profile_texts import VALID, write


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A third party's folder of profiles that is searched first."""
    monkeypatch.setenv("EDGEBUDGET_PROFILES", str(tmp_path))
    return tmp_path


def test_raspberrypi_is_the_4b_with_4_gb() -> None:
    profile = load_profile("raspberrypi")
    assert profile.name == "raspberrypi-4b-4gb"
    assert profile.memory.ram_bytes == 4 * 2**30
    assert profile.target.cores == ("cortex-a72",)
    assert profile.target.isa == "armv8-a"
    assert profile.default_runtime == "executorch-xnnpack"
    assert 2 * 2**30 < profile.budget_bytes < 3.4 * 2**30
    assert not profile.budget_is_estimated


def test_linux_x86_64_has_24_gib() -> None:
    profile = load_profile("linux-x86_64")
    assert profile.memory.ram_bytes == 24 * 2**30
    assert profile.target.is_x86
    assert profile.dtypes["float16"] == "storage"


def test_a_path_a_name_a_glob_and_all(tmp_path: Path) -> None:
    path = write(tmp_path, VALID)
    assert [p.name for p in resolve_devices([path, "rp2040", path])] == ["board", "rp2040"]
    boards = [p.name for p in resolve_devices(["raspberrypi*", "raspberrypi"])]
    assert "raspberrypi-4b-4gb" in boards
    assert len(boards) == len(set(boards)) >= 8
    assert "raspberrypi-4b" not in boards  # abstract
    assert [p.name for p in resolve_devices(["all"])] == profile_names()
    assert resolve_devices([]) == []


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("rasberrypi", "Did you mean raspberrypi"),
        ("", "Unknown device ''"),
        ("../../etc/passwd", "looks like a path"),
        ("/etc/passwd", "looks like a path"),
        ("..", "Unknown device '..'"),
        ("../device_profiles/rp2040", "looks like a path"),
        ("no/such/file.yaml", "is not an existing file"),
        ("nosuchfile.yaml", "is not an existing file"),
        ("null\0byte.yaml", "is not an existing file"),
        ("zzz*", "No device's name matches 'zzz*'"),
        ("x" * 100_000, "Unknown device"),
        ("raspberrypi-4b", "Name one of: raspberrypi-4b-1gb, raspberrypi-4b-2gb, raspberrypi-4b-4gb"),
    ],
)
def test_what_is_no_device_is_refused_in_a_sentence(pattern: str, words: str) -> None:
    with pytest.raises(EdgeBudgetError) as caught:
        resolve_devices([pattern])
    assert words in str(caught.value)
    assert len(str(caught.value)) < 700


def test_load_profile_wants_exactly_one() -> None:
    with pytest.raises(ProfileError, match="name one"):
        load_profile("raspberrypi*")
    with pytest.raises(ProfileError, match="name one"):
        load_profile("all")


def test_a_folder_is_no_profile(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").mkdir()
    with pytest.raises(UsageError, match="is not an existing file"):
        load_profile(str(tmp_path / "x.yaml"))


def test_a_third_partys_folder_comes_first(folder: Path) -> None:
    write(folder, VALID.replace("name: board", "name: board\naliases: [raspberrypi]"))
    assert load_profile("board").name == "board"
    assert load_profile("raspberrypi").name == "board"
    assert load_profile("raspberrypi-4b-4gb").name == "raspberrypi-4b-4gb"
    assert "board" in profile_names()


def test_several_folders_are_searched_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("one", "two"):
        (tmp_path / part).mkdir()
        write(tmp_path / part, VALID.replace("display_name: Board", f"display_name: {part}"))
    monkeypatch.setenv("EDGEBUDGET_PROFILES", os.pathsep.join([str(tmp_path / "two"), str(tmp_path / "one")]))
    assert load_profile("board").display_name == "two"
    assert [p.display_name for p in resolve_devices(["boar?"])] == ["two"]


def test_a_third_partys_profile_is_held_to_the_schema(folder: Path) -> None:
    write(folder, VALID.replace("4 GiB", "4 GB"))
    with pytest.raises(ProfileError, match="ambiguous for RAM"):
        resolve_devices(["board"])


def test_a_folder_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEBUDGET_PROFILES", "/no/such/folder")
    with pytest.raises(ProfileError, match="'/no/such/folder' cannot be read"):
        load_profile("raspberrypi")


def test_two_owners_of_an_alias_are_refused(folder: Path) -> None:
    for stem in ("one", "two"):
        write(folder, VALID.replace("name: board", f"name: {stem}\naliases: [mine]"), stem)
    with pytest.raises(ProfileError, match="both own the alias 'mine'"):
        load_profile("mine")


def test_a_mention_is_not_an_alias(folder: Path) -> None:
    write(folder, VALID.replace("display_name: Board", "display_name: mine"))
    with pytest.raises(UnknownNameError, match="Unknown device 'mine'"):
        load_profile("mine")


def test_extends_merges_and_the_child_wins(folder: Path) -> None:
    parent = VALID.replace("name: board", "name: parent\naliases: [old]") + (
        "  - {field: memory.idle_available, title: parent's, read_on: 2026-11-21, confidence: verified}\n"
        "notes: [from the parent]\n"
    )
    write(folder, parent, "parent")
    child = (
        "schema_version: 1\nname: child\nextends: parent\nmemory: {ram: 8 GiB, idle_available: 7 GiB}\n"
        "cpu: {cores: [cortex-a76, cortex-a55]}\n"
        "sources: [{field: memory.ram, title: child's, read_on: 2026-11-22, confidence: likely}]\nnotes: [mine]\n"
    )
    write(folder, child, "child")
    profile = load_profile("child")
    assert profile.name == "child"
    assert profile.aliases == ()
    assert profile.display_name == "Board"
    assert profile.memory.ram_bytes == 8 * 2**30
    assert profile.memory.safety_margin_percent == 20
    assert profile.cpu.isa == "armv8-a"
    assert profile.cpu.cores == ("cortex-a76", "cortex-a55")
    assert profile.notes == ("mine", "from the parent")
    # The parent's sources for figures that the child gives itself say nothing about them.
    assert profile.sources == (Source("memory.ram", "child's", "2026-11-22", "likely"),)
    assert profile.budget_is_estimated  # nobody vouches for the child's idle_available


def test_extends_may_name_a_shipped_profile_or_its_alias(tmp_path: Path) -> None:
    path = write(tmp_path, "schema_version: 1\nname: mine\nextends: raspberrypi\ndisplay_name: Mine\n", "mine")
    profile = load_profile(path)
    assert profile.display_name == "Mine"
    assert profile.memory == load_profile("raspberrypi").memory
    assert profile.sources == load_profile("raspberrypi").sources


def test_yml_is_yaml(folder: Path) -> None:
    (folder / "base.yml").write_text(VALID.replace("name: board", "name: base"))
    (folder / "mine.yml").write_text("schema_version: 1\nname: mine\nextends: base\n")
    assert load_profile("mine").memory == load_profile(str(folder / "base.yml")).memory


def test_an_extends_loop_names_the_chain(folder: Path) -> None:
    for stem, parent in (("a", "b"), ("b", "c"), ("c", "a")):
        write(folder, f"schema_version: 1\nname: {stem}\nextends: {parent}\n", stem)
    with pytest.raises(ProfileError, match=r"a\.yaml: extends: goes round in a loop \(a -> b -> c -> a\)"):
        load_profile("a")


def test_a_profile_that_extends_itself(tmp_path: Path) -> None:
    path = write(tmp_path, "schema_version: 1\nname: f\nextends: f\n", "f")
    with pytest.raises(ProfileError, match=r"f -> f"):
        load_profile(path)


@pytest.mark.parametrize("parent", ["nobody", "raspbery", "../../etc/passwd"])
def test_an_unknown_parent_is_named(parent: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"schema_version: 1\nname: mine\nextends: {parent}\n", "mine")
    with pytest.raises(ProfileError, match=r"mine\.yaml: extends: "):
        load_profile(path)


def test_what_is_missing_after_resolving_is_named(folder: Path) -> None:
    write(folder, "schema_version: 1\nname: base\nabstract: true\nmemory: {ram: 1 GiB}\n", "base")
    path = write(folder, "schema_version: 1\nname: mine\nextends: base\nmemory: {safety_margin: 0}\n", "mine")
    with pytest.raises(ProfileError, match=r"mine\.yaml: \w+: missing; write, for example") as caught:
        load_profile(path)
    assert caught.value.hint.startswith("4 more: ")
    assert {finding.field for finding in lint_paths([Path(path)])} == {
        "display_name", "class", "cpu", "default_runtime", "memory.idle_available"
    }  # fmt: skip


def test_a_broken_parent_is_reported_in_its_own_file(folder: Path) -> None:
    write(folder, VALID.replace("name: board", "name: base").replace("4 GiB", "4 GB"), "base")
    write(folder, "schema_version: 1\nname: mine\nextends: base\n", "mine")
    with pytest.raises(ProfileError, match=r"base\.yaml: memory\.ram: '4 GB' is ambiguous"):
        load_profile("mine")


def test_budget_is_the_smaller_limit_less_the_margin(tmp_path: Path) -> None:
    text = VALID.replace("idle_available: 3 GiB", "idle_available: 1000\n  process_limit: 801")
    profile = load_profile(write(tmp_path, text))
    assert profile.budget_bytes == 640  # 801 * 0.8 = 640.8, rounded down
    assert profile.estimated_fields == ("memory.process_limit",)


def test_stated_dtypes_and_overheads_win(tmp_path: Path) -> None:
    extra = "dtypes: {int4: native}\nruntimes: {executorch-xnnpack: {overhead: 8 MiB}, pytorch: {}}\n"
    profile = load_profile(write(tmp_path, VALID + extra))
    assert profile.dtypes["int4"] == "native"
    assert profile.dtypes["float16"] == "storage"
    assert dict(profile.runtimes) == {"executorch-xnnpack": 8 * 2**20, "pytorch": None}


def test_regions_limit_an_arena(tmp_path: Path) -> None:
    regions = "  regions: [{name: fast, size: 1 MiB}, {name: psram, size: 8 MiB, speed: slow}]\n  ram:"
    profile = load_profile(write(tmp_path, VALID.replace("  ram:", regions)))
    assert [region.speed for region in profile.memory.regions] == ["fast", "slow"]
    assert profile.memory.largest_region == MemoryRegion("psram", 8 * 2**20, "slow")
    assert load_profile("raspberrypi").memory.largest_region is None


def test_dates_and_words_stay_text(tmp_path: Path) -> None:
    profile = load_profile(write(tmp_path, VALID.replace("display_name: Board", "display_name: yes")))
    assert profile.display_name == "yes"
    assert profile.sources[0].read_on == "2026-11-21"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("4 GiB", "4 GB", r"memory\.ram: '4 GB' is ambiguous"),
        ("  ram: 4 GiB\n", "", r"memory\.ram: missing"),
        ("[cortex-a72]", "7", r"cpu\.cores: 7 is not a list"),
        ("display_name: Board", "display_name: [Board]", "display_name: a list is not text"),
        ("cpu: {isa: armv8-a, cores: [cortex-a72], pointer_bits: 64}", "cpu: 7", "cpu: 7 is not a mapping"),
    ],
)
def test_a_shipped_profile_that_somebody_broke_is_explained_too(old: str, new: str, words: str, tmp_path: Path) -> None:
    """Shipped profiles are read without the schema; it is asked where one cannot be converted."""
    file = ProfileFile(Path(write(tmp_path, VALID.replace(old, new))), shipped=True)
    with pytest.raises(ProfileError, match=words):
        load_file(file, profile_folders())
