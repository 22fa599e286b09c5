"""Whatever stands in a file: a profile, or one sentence about it, quickly."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from edgebudget.errors import ProfileError
from edgebudget.profiles import load_profile
from edgebudget.profiles.interface import DeviceProfile
from edgebudget.profiles.lint import lint_paths
from edgebudget.profiles.parse import Document, parse_profile
from tests.profile_texts import VALID

_LINES = VALID.splitlines()
_SNIPPETS = st.sampled_from(
    [*_LINES, "memory:", "  ram: .nan", "  ram: 1e999", "extends: board", "a: &a [*a]", "<<: *a", "- - - {", "? [a]",
     "!!set {a}", "%YAML 9.9", "---", "...", "\t", "\ufeff", "'", "dtypes: {int8: 0o7}", "0x10: 1", "sources: [[[]]]",
     "memory: {ram: {ram: {ram: 1}}}", "cpu: {cores: [[]]}", "runtimes: {pytorch: {overhead: -0}}", "aliases: [{}]"]
)  # fmt: skip
_TEXTS = st.one_of(
    st.text(max_size=200),
    st.lists(st.one_of(_SNIPPETS, st.text(max_size=20)), max_size=20).map("\n".join),
    st.tuples(st.integers(0, len(VALID)), st.integers(0, 40), st.text(max_size=12)).map(
        lambda cut: VALID[: cut[0]] + cut[2] + VALID[cut[0] + cut[1] :]
    ),
    st.tuples(st.sampled_from("[{-?:&*!|>'\"%@,# "), st.integers(1, 3000)).map(lambda many: many[0] * many[1]),
)


@contextmanager
def quickly() -> Iterator[None]:
    started = time.perf_counter()
    yield
    assert time.perf_counter() - started < 1


def load(path: Path) -> DeviceProfile | ProfileError:
    try:
        return load_profile(str(path))
    except ProfileError as error:
        return error


def parse(text: str) -> Document | ProfileError:
    try:
        return parse_profile(text, "x.yaml")
    except ProfileError as error:
        return error


@settings(max_examples=400, deadline=None)
@given(_TEXTS)
def test_any_text_is_a_profile_or_a_sentence(text: str) -> None:
    with TemporaryDirectory() as folder, quickly():
        path = Path(folder) / "board.yaml"
        path.write_text(text, encoding="utf-8")
        loaded = load(path)
        if isinstance(loaded, ProfileError):
            assert str(path) in loaded.message
            assert "\n" not in str(loaded)
            assert len(str(loaded)) < 1500
            assert lint_paths([path])
        else:
            assert loaded.budget_bytes >= 0
            assert loaded.name == "board"


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(alphabet=st.characters(), max_size=300), _TEXTS))
def test_parsing_never_raises_anything_else(text: str) -> None:
    with quickly():
        parsed = parse(text)
    if isinstance(parsed, ProfileError):
        assert parsed.message.startswith("x.yaml:")
    else:
        assert all(parsed.place((key,)).line >= 1 for key in parsed.data)


def test_the_worst_texts_within_the_limit_are_quick() -> None:
    for text in ("[" * 60_000, "a: " * 20_000, "[" + "1," * 30_000, "- a\n" * 15_000, "? " * 30_000, "{a: " * 15_000):
        with quickly(), suppress(ProfileError):
            parse_profile(text, "x.yaml")
