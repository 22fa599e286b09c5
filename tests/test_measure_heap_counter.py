"""The allocation counter, against a program that knows what it allocates."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgebudget.errors import MeasurementError
from edgebudget.measure.native_build import heap_counter

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the counter is loaded with LD_PRELOAD")


def test_every_way_to_allocate_is_counted_to_the_byte(tmp_path: Path) -> None:
    program = tmp_path / "allocations"
    source = Path(__file__).with_name("measure_allocations.cpp")
    compiled = subprocess.run(
        ["c++", "-std=c++17", "-O0", "-pthread", str(source), "-o", str(program)], capture_output=True, text=True
    )
    assert compiled.returncode == 0, compiled.stderr
    environment = {**os.environ, "LD_PRELOAD": str(heap_counter())}
    result = subprocess.run([str(program)], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert len(lines) > 40
    wrong = [line for line in lines if line[1] != line[2]]
    assert wrong == []


def test_a_second_build_is_taken_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = heap_counter()
    before = made.stat().st_mtime_ns
    assert made.is_relative_to(tmp_path)
    assert heap_counter() == made
    assert made.stat().st_mtime_ns == before
    assert list(made.parent.iterdir()) == [made]


def test_without_a_compiler_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MeasurementError, match=r"'cc'.*build-essential"):
        heap_counter()


def test_a_probe_without_the_counter_refuses(tmp_path: Path) -> None:
    code = "from edgebudget.measure.workers.probe import Probe; Probe()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode != 0
    assert "LD_PRELOAD" in result.stderr
