"""The table of benchmarks in the README is the report's; a benchmark that fails takes nothing from the others."""

import pytest

from tests import bench


def test_the_readme_has_the_reports_table() -> None:
    assert bench.README.read_text(encoding="utf-8") == bench.readme(), "python -m tests.write_gold"


def test_what_is_measured_stands_at_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SECTIONS", {"One": "tests.bench_export", "None": "tests.no_such_benchmark"})
    monkeypatch.setattr(bench, "section", lambda module, arguments: ["text", "=> what | 1 | 2"] * (module != "x"))
    text = bench.document([])
    assert "| what | measured | aim |\n|---|--:|--:|\n| what | 1 | 2 |\n| what | 1 | 2 |\n" in bench.block(text)
    assert "=>" not in text


def test_one_that_fails_says_so() -> None:
    assert bench.section("tests.no_such_benchmark", [])[-1].startswith("Failed: ")
