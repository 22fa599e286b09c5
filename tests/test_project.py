"""The files around the package say what is so."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.M))


def normal(requirement: str) -> str:
    return re.split(r"[<>=!~\[; ]", requirement)[0].lower().replace("_", "-")


def test_the_readme_names_targets_that_exist() -> None:
    named = set(re.findall(r"^\s*make ([a-z-]+)", README, re.M))
    assert {"check", "compare", "test"} <= named <= TARGETS


def test_the_readme_names_commands_that_exist() -> None:
    from edgebudget.cli.app import COMMANDS

    assert set(re.findall(r"^edgebudget ([a-z]+)", README, re.M)) <= set(COMMANDS.names())


def test_the_readme_links_to_files_that_are_there() -> None:
    linked = {link for link in re.findall(r"\]\(([^)#\s]+)", README) if "://" not in link}
    assert linked
    assert [link for link in sorted(linked) if not (ROOT / link).exists()] == []


def test_every_target_is_phony() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.M)
    assert phony
    assert set(phony[1].split()) >= TARGETS


def test_ci_runs_what_the_readme_says() -> None:
    section = README.split("## Run the tests")[1].split("##")[0]
    commands = re.findall(r"^make [a-z]+$", section, re.M)
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "set -euo pipefail" in script
    assert commands == re.findall(r"^make [a-z]+$", script, re.M) == ["make test", "make lint"]


def test_constraints_are_names_and_versions() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line) for line in lines)
    pinned = {normal(line) for line in lines}
    wanted = PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["dev"]
    assert {normal(requirement) for requirement in wanted} - {"edgebudget"} <= pinned


@pytest.mark.parametrize("path", ["README.md", "pyproject.toml", "constraints.txt", "Makefile", ".ci/run"])
def test_no_host_stands_in_the_projects_files(path: str) -> None:
    assert not re.search(r"://|\bpypi\b|index-url|find-links", (ROOT / path).read_text(encoding="utf-8"))


def test_the_wheel_carries_the_profiles() -> None:
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"device_profiles": "edgebudget/device_profiles"}
    assert list((ROOT / "device_profiles").glob("*.yaml"))


def test_every_threat_has_a_test_that_exists() -> None:
    section = README.split("## Security")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    assert len(rows) >= 18
    for row in rows:
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row)
        assert named, row
        for file, function in named:
            assert f"def {function}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), row
