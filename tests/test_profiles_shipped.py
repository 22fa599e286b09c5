"""The profiles that ship: all lint-clean, complete, sourced, and what the project promises to have."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgebudget.profiles import load_profile, resolve_devices
from edgebudget.profiles.find import ProfileFile
from edgebudget.profiles.folders import profile_folders
from edgebudget.profiles.interface import DeviceProfile
from edgebudget.profiles.lint import lint_paths
from edgebudget.profiles.load import load_file
from edgebudget.profiles.parse import Document

FOLDERS = profile_folders(environment={})
FOLDER = FOLDERS[-1].path
PROFILES = {profile.name: profile for profile in resolve_devices(["all"])}


def test_shipped_profiles_pass_lint() -> None:
    assert [str(finding) for finding in lint_paths([FOLDER])] == []


@pytest.mark.parametrize("name", PROFILES)
def test_a_user_could_have_written_it(name: str, tmp_path: Path) -> None:
    """A shipped profile is read without the schema; as a user's file it is held to it, and comes out the same."""
    assert load_file(ProfileFile(FOLDER / f"{name}.yaml", shipped=False), FOLDERS) == PROFILES[name]


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_profile_is_plausible(profile: DeviceProfile) -> None:
    assert 0 < profile.budget_bytes < profile.memory.ram_bytes
    assert set(profile.dtypes) == {"float32", "float16", "bfloat16", "int8", "int4"}
    assert profile.default_runtime in profile.runtimes
    if profile.device_class == "mcu":
        assert profile.memory.weights_in == "flash"
        assert profile.default_runtime == "tflite-micro"
        assert profile.cpu.pointer_bits == 32
        assert profile.storage.available_for_model_bytes
    else:
        assert profile.memory.weights_in == "ram"
    assert profile.sources_of("memory.ram")


def test_the_devices_that_were_promised() -> None:
    names = set(PROFILES)
    assert {"raspberrypi-zero-2-w", "raspberrypi-3b-plus", "coral-dev-board-1gb", "linux-x86_64"} <= names
    assert {f"raspberrypi-4b-{gb}gb" for gb in (1, 2, 4, 8)} <= names
    assert len([name for name in names if name.startswith("raspberrypi-5-")]) >= 3
    phones = [p for p in PROFILES.values() if p.device_class == "phone"]
    android = {p.memory.ram_bytes for p in phones if not p.name.startswith("iphone")}
    assert len(android) >= 3
    assert len([p for p in phones if p.name.startswith("iphone")]) >= 2
    assert len([p for p in PROFILES.values() if p.device_class == "mcu"]) >= 4
    assert any(name.startswith("jetson") for name in names)


def test_there_are_at_least_fifty() -> None:
    assert len(PROFILES) >= 50
    assert {profile.device_class for profile in PROFILES.values()} == {
        "sbc", "phone", "tablet", "mcu", "accelerator", "pc"
    }  # fmt: skip


def test_an_arena_has_to_fit_one_region() -> None:
    """Where the RAM is split, the limit is the largest contiguous block."""
    split = [profile for profile in PROFILES.values() if profile.memory.regions]
    assert len(split) >= 6
    for profile in split:
        assert profile.memory.largest_region is not None


def test_an_entitlement_raises_the_limit() -> None:
    plain, entitled = PROFILES["iphone-13-pro"], PROFILES["iphone-13-pro-entitled"]
    assert entitled.budget_bytes > plain.budget_bytes
    assert entitled.memory.ram_bytes == plain.memory.ram_bytes


def test_names_and_aliases_are_unique() -> None:
    aliases = [alias for profile in PROFILES.values() for alias in profile.aliases]
    assert len(aliases) == len(set(aliases))
    assert not set(aliases) & set(PROFILES)


def test_listing_devices_imports_neither_torch_nor_the_schema() -> None:
    code = (
        "import sys; from edgebudget.profiles import resolve_devices; resolve_devices(['all'])\n"
        "print(sorted({'torch', 'jsonschema', 'edgebudget.runtimes'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_profile_value_needs_no_yaml() -> None:
    code = "import sys; import edgebudget.profiles.interface; print('yaml' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_one_device_reads_only_its_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    whole = ProfileFile.read

    def counted(file: ProfileFile) -> Document:
        read.append(file.path.stem)
        return whole(file)

    monkeypatch.setattr(ProfileFile, "read", counted)
    load_profile("raspberrypi")
    assert set(read) == {"raspberrypi-4b-4gb", "raspberrypi-4b", "raspberrypi-board", "linux-arm64-board"}
