"""The fixture `assert_fits`, in a pytest of its own that finds it by its entry point."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = """
import torch
from torch import nn

def big():
    return nn.Sequential(nn.Linear(8000, 8000), nn.ReLU(), nn.Linear(8000, 8000))

def test_small(assert_fits):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).train()
    result = assert_fits(model, torch.zeros(1, 3, 32, 32), device="raspberrypi", dtype="int8")
    assert (result.decision, result.dtype, model.training) == ("GO", "int8", True)

def test_keywords(assert_fits):
    assert_fits(nn.Linear(4, 2), {"input": torch.zeros(1, 4)}, dtype="float32", runtime="pytorch")

def test_big(assert_fits):
    with torch.device("meta"):
        model = big()
    assert_fits(model, (torch.zeros(1, 8000),), device="raspberrypi-zero-2-w", dtype="float32")
"""


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with tests, and the package's entry points as an installation would lay them down."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = tmp_path / "site" / "edgebudget-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: edgebudget\nVersion: 0.1.0\n")
    points = "".join(f"{name} = {target}\n" for name, target in project["entry-points"]["pytest11"].items())
    (info / "entry_points.txt").write_text(f"[pytest11]\n{points}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), str(tmp_path / "site"))))
    folder = tmp_path / "tests"
    folder.mkdir()
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:cov", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def test_a_failure_names_the_peak_the_budget_and_what_would_fit(elsewhere: Path) -> None:
    (elsewhere / "test_fits.py").write_text(TESTS)
    done = run(elsewhere, "-q")
    assert "1 failed, 2 passed" in done.stdout
    assert "Sequential does not fit raspberrypi-zero-2-w: NO-GO as float32 in executorch-xnnpack." in done.stdout
    for said in ("  peak:   ", " at worst (", "  budget: ", "Short of RAM by at least", "Would fit, with a peak of"):
        assert said in done.stdout
    assert "pytest_plugin.py" not in done.stdout  # the user's own line, not ours


def test_nothing_heavy_is_imported_when_pytest_starts(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # others may be heavy
    (elsewhere / "test_nothing.py").write_text(
        "import sys\n"
        "def test_nothing():\n"
        "    assert 'edgebudget.pytest_plugin' in sys.modules\n"
        "    ours = [name for name in sys.modules if name.startswith('edgebudget.')]\n"
        "    assert ours == ['edgebudget.pytest_plugin']\n"
        "    assert not {'torch', 'pandas', 'jsonschema', 'yaml', 'numpy'} & set(sys.modules)\n"
    )
    done = run(elsewhere, "-q", "-p", "edgebudget")
    assert "1 passed" in done.stdout, done.stdout
