"""Whatever stands in a file: a profile, or one sentence about it, quickly."""

import copy
import datetime
import io
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgebudget.cli import main
from edgebudget.errors import ProfileError
from edgebudget.profiles import load_profile
from edgebudget.profiles.interface import DeviceProfile
from edgebudget.profiles.lint import lint_paths
from edgebudget.profiles.parse import Document, parse_profile
from tests.profile_texts import SOURCED, VALID

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
    started = time.process_time()  # not the wall's: other processes' work is not this document's
    yield
    assert time.process_time() - started < 1


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


# What follows goes through the command line, as a user's file does, and holds its answer to rules written down again.

_DATA = yaml.safe_load(SOURCED.replace("2026-11-21", "'2026-11-21'"))
_KEYS = st.sampled_from(
    ["schema_version", "name", "class", "memory", "ram", "idle_available", "process_limit", "os_visible", "regions",
     "safety_margin", "weights_in", "storage", "capacity", "cpu", "isa", "cores", "pointer_bits", "dtypes", "int8",
     "runtimes", "pytorch", "overhead", "default_runtime", "sources", "field", "title", "read_on", "confidence",
     "notes", "extends", "abstract", "aliases", "accelerators", "memories", "holds", "size", "x", ""]
)  # fmt: skip
_PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12),
    st.sampled_from(["4 GiB", "3 GiB", "4 GB", "1e3 MiB", "-1 MiB", "0", "20%", "101%", "armv8-a", "cortex-a72", "sbc",
                     "board", "raspberrypi-4b", "2026-02-30", "verified", "native", "flash", "9" * 400, "true"]),
)  # fmt: skip
_VALUES = st.recursive(
    _PLAIN,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_KEYS, inner, max_size=4)),
    max_leaves=8,
)


def _places(data: object, where: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    children = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [where, *(place for key, child in children for place in _places(child, (*where, key)))]


@st.composite
def _changed(draw: st.DrawFn) -> str:
    """A valid profile with one to three things in it replaced, added or taken out."""
    data = copy.deepcopy(_DATA)
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from([place for place in _places(data) if place]))
        inside = data
        for part in parents:
            inside = inside[part]
        kind = draw(st.sampled_from(["replace", "remove", "add"]))
        if kind == "replace":
            inside[last] = draw(_VALUES)
        elif kind == "remove":
            del inside[last]
        elif isinstance(inside, dict):
            inside[draw(_KEYS)] = draw(_VALUES)
    return yaml.safe_dump(data, allow_unicode=draw(st.booleans()), default_flow_style=draw(st.booleans()))


_BOMBS = st.integers(2, 60).map(
    lambda depth: "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, depth))
)
_DOCUMENTS = st.one_of(_changed(), _changed(), _TEXTS, _BOMBS)
_SIZE = re.compile(r" *[0-9]+(\.[0-9]+)? *(B|KiB|MiB|GiB|TiB)? *\Z")
_FACTORS = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def _nbytes(value: object) -> float:
    if isinstance(value, str):
        assert _SIZE.match(value)
        unit = value.strip().lstrip("0123456789. ")
        return float(value.strip().removesuffix(unit)) * _FACTORS[unit]
    assert isinstance(value, int | float)
    assert not isinstance(value, bool)
    return float(value)


def hold_to_the_rules(text: str) -> None:
    """Fail where a text that was accepted is nonsense after all."""
    data = yaml.load(text, Loader=yaml.BaseLoader)  # every scalar as text: what it means is decided below
    typed = yaml.safe_load(text)
    assert (data["schema_version"], data["name"]) == ("1", "board")
    memory = typed["memory"]
    if "extends" not in data:
        assert typed["class"] in {"sbc", "phone", "tablet", "mcu", "accelerator", "pc"}
        assert data["cpu"]["pointer_bits"] in ("32", "64")
        limits = [_nbytes(memory[key]) for key in ("idle_available", "process_limit") if key in memory]
        assert limits
        assert data.get("abstract") == "true" or 0 < min(limits) <= _nbytes(memory["ram"])
    for source in data["sources"]:
        assert source["title"]
        assert source["confidence"] in {"verified", "likely", "estimated"}
        datetime.date.fromisoformat(source["read_on"])
    sourced = {source["field"] for source in data["sources"]}
    assert {f"memory.{key}" for key in memory if key not in ("safety_margin", "weights_in")} <= sourced


def fuzz_the_command_line(text: str) -> None:
    """Lint one document and ask for it as a device: exit 0 or 2, never a traceback, never a second."""
    with TemporaryDirectory() as folder, quickly():
        path = Path(folder) / "board.yaml"
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        said, complained = io.StringIO(), io.StringIO()
        with redirect_stdout(said), redirect_stderr(complained):
            linted = main(["devices", "lint", str(path)])
            shown = main(["devices", "show", str(path)])
    assert linted in (0, 2)
    assert shown in (0, 2)
    assert "Traceback" not in said.getvalue() + complained.getvalue()
    assert "internal error" not in complained.getvalue()
    if linted == 0:
        hold_to_the_rules(text)
    else:
        assert str(path) in said.getvalue()  # what is wrong, with its line
    if shown == 2:
        assert linted == 2 or "abstract" in complained.getvalue()
        assert len(complained.getvalue().splitlines()) == 1


def test_the_text_that_is_changed_is_accepted() -> None:
    hold_to_the_rules(SOURCED)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "board.yaml"
        path.write_text(SOURCED, encoding="utf-8")
        assert main(["devices", "lint", str(path)]) == 0


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_DOCUMENTS)
def test_documents_through_the_command_line(text: str) -> None:
    fuzz_the_command_line(text)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_DOCUMENTS)
def test_ten_thousand_documents_through_the_command_line(text: str) -> None:
    fuzz_the_command_line(text)
