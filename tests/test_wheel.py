"""The wheel, built from this checkout, in an environment that has never seen the checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("edgebudget-*-py3-none-any.whl"))


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a new environment with the wheel in it; what it depends on is borrowed."""
    folder = tmp_path_factory.mktemp("clean") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    packages = next((folder / "lib").glob("python*/site-packages"))
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def run(program: Path, *arguments: str, cwd: Path) -> str:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([program, *arguments], cwd=cwd, env=kept, check=True, capture_output=True, text=True).stdout


def test_the_wheel_carries_its_data_and_its_types(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {path.relative_to(ROOT) for path in (ROOT / "edgebudget").rglob("*") if path.suffix in (".py", ".json")}
    assert {path.as_posix() for path in sources} <= names
    assert "edgebudget/py.typed" in names
    profiles = {f"edgebudget/device_profiles/{path.name}" for path in (ROOT / "device_profiles").glob("*.yaml")}
    assert profiles <= names
    assert not [name for name in names if name.startswith(("tests/", "reports/"))]


def test_the_installed_program_works_away_from_the_checkout(clean: Path, tmp_path: Path) -> None:
    where = run(clean / "python", "-c", "import edgebudget; print(edgebudget.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(clean.parent)
    assert "raspberrypi-4b-4gb" in run(clean / "edgebudget", "devices", "list", cwd=tmp_path)
    text = run(
        clean / "edgebudget", "check", "mobilenet_v2", "--device", "raspberrypi", "--format", "json", cwd=tmp_path
    )
    document = json.loads(text)
    assert document["decision"] == "GO"
    assert all(result["peak_bytes"] > 0 for result in document["results"] if result["decision"] == "GO")
    assert list(tmp_path.iterdir()) == []
