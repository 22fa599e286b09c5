"""The samples under `reports/` are what the code of today writes: `make samples` writes them anew."""

import subprocess

import pytest

from tests.samples import PICTURE, REPORTS, samples, scrubbed

MAX_PICTURE_BYTES = 300_000


def test_there_is_one_of_every_format() -> None:
    assert {path.name for path in REPORTS.glob("sample*")} == set(samples())


@pytest.mark.parametrize("name", sorted(path.name for path in REPORTS.glob("sample*")))
def test_samples_are_current(name: str) -> None:
    assert scrubbed((REPORTS / name).read_bytes()) == scrubbed(samples()[name]), "write it anew: make samples"


def test_the_picture_is_small() -> None:
    assert PICTURE.read_bytes().startswith(b"\x89PNG")
    assert PICTURE.stat().st_size < MAX_PICTURE_BYTES


def test_git_keeps_them() -> None:
    names = [path.name for path in [*REPORTS.glob("sample*"), PICTURE]]
    done = subprocess.run(["git", "check-ignore", *names], cwd=REPORTS, capture_output=True, text=True, check=False)
    if "not a git repository" in done.stderr:
        pytest.skip("not in a checkout")
    assert done.stdout == ""
