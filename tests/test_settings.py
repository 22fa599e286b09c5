"""A repository's settings: found upward, held to their schema, and below the command line."""

import json
from pathlib import Path

import pytest
import yaml

from edgebudget.cli import main
from edgebudget.errors import SettingsError
from edgebudget.settings import NO_SETTINGS, load_settings
from tests.test_cli import TINY

FULL = """\
models: [tiny.py:tiny]
devices: [linux-x86_64, mine.yaml]
dtypes: [int8, float32]
runtimes: [pytorch]
policy:
  headroom: 12.5%
  allow-marginal: true
  baseline: base.json
  max-growth: 3
"""
FULL_TOML = """\
[project]
name = "mine"

[tool.edgebudget]
models = ["tiny.py:tiny"]
devices = [
  "linux-x86_64",
  "mine.yaml",
]
dtypes = ["int8", "float32"]
runtimes = ["pytorch"]

[tool.edgebudget.policy]
headroom = "12.5%"
allow-marginal = true
baseline = "base.json"
max-growth = 3
"""
BOARD = """\
schema_version: 1
name: mine
extends: linux-x86_64
display_name: Mine
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tiny.py").write_text(TINY)
    (tmp_path / "mine.yaml").write_text(BOARD)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("name", "text"), [("edgebudget.yaml", FULL), ("pyproject.toml", FULL_TOML)])
@pytest.mark.parametrize("below", ["", "deep/er"])
def test_they_are_found_upward(
    name: str, text: str, below: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / name).write_text(text)
    monkeypatch.chdir(repository / below)
    settings = load_settings(Path.cwd())
    assert settings.folder == repository
    assert settings.models == ("tiny.py:tiny",)
    assert [Path(device).name for device in settings.devices] == ["linux-x86_64", "mine.yaml"]
    assert Path(settings.devices[1]).is_file()
    assert (settings.dtypes, settings.runtimes) == (("int8", "float32"), ("pytorch",))
    assert (settings.headroom_percent, settings.allow_marginal, settings.max_growth_percent) == (12.5, True, 3.0)
    assert settings.baseline == repository / "base.json"


def test_without_any_nothing_is_set(repository: Path) -> None:
    (repository / "pyproject.toml").write_text("[tool.other]\nx = 1\n[project]\nname = 'edgebudget-user'\n")
    settings = load_settings(repository)
    assert (settings.path, settings.models, settings.devices) == (None, (), ())
    assert NO_SETTINGS.path is None


def test_the_nearest_wins(repository: Path) -> None:
    (repository / "edgebudget.yaml").write_text("models: [a]\n")
    (repository / "deep" / "pyproject.toml").write_text("[tool.edgebudget]\nmodels = ['b']\n")
    assert load_settings(repository / "deep" / "er").models == ("b",)


BAD = [
    ("edgebudget.yaml", "models: [a]\nmodel: [b]\n", ":2: model: unknown key; did you mean models?"),
    ("edgebudget.yaml", "models: a\n", ":1: models: 'a' is not a list."),
    ("edgebudget.yaml", "models: []\n", ":1: models: "),
    ("edgebudget.yaml", "models: [a, 3]\n", ":1: models[1]: 3 is not text."),
    ("edgebudget.yaml", "models:\n  - a\n  - a\n", ":1: models: lists the same thing twice; keep one."),
    ("edgebudget.yaml", "policy:\n  headroom: 120%\n", ":2: policy.headroom: '120%' is not a percentage"),
    ("edgebudget.yaml", "policy:\n  max_growth: 5\n", ":2: policy.max_growth: unknown key; did you mean max-growth?"),
    ("edgebudget.yaml", "policy:\n  allow-marginal: yes\n", ":2: policy.allow-marginal: 'yes' is not true or false."),
    ("edgebudget.yaml", "dtypes:\n  - float32\n  - in8\n", ":3: dtypes[1]: Unknown dtype 'in8'. Did you mean int8?"),
    ("edgebudget.yaml", "runtimes: [pytroch]\n", ":1: runtimes[0]: Unknown runtime 'pytroch'."),
    ("edgebudget.yaml", "devices:\n- rasberrypi\n", ":2: devices[0]: Unknown device 'rasberrypi'."),
    ("edgebudget.yaml", "devices: [nowhere.yaml]\n", ":1: devices[0]: "),
    ("edgebudget.yaml", "models: [a\n", ": not valid YAML: "),
    ("edgebudget.yaml", "", ":1: this is no mapping of keys to values"),
    ("edgebudget.yaml", "- a\n", ":1: this is no mapping of keys to values"),
    ("edgebudget.yaml", "models: &x [a]\n", ":1: anchors and aliases are not allowed"),
    ("pyproject.toml", "[tool.edgebudget]\nmodel = ['b']\n", ":2: model: unknown key; did you mean models?"),
    ("pyproject.toml", "[tool.edgebudget.policy]\n\nheadroom = 200\n", ":3: policy.headroom: 200 is not a percentage"),
    ("pyproject.toml", "[tool.edgebudget]\npolicy.headroom = 200\n", ":2: policy.headroom: 200 is not"),
    ("pyproject.toml", "[tool.edgebudget]\ndtypes = [\n 'in8',\n]\n", ":2: dtypes[0]: Unknown dtype 'in8'."),
    ("pyproject.toml", "[tool.edgebudget]\nmodels = [\n", ": not valid TOML: "),
    ("pyproject.toml", "[tool]\nedgebudget = 3\n", ":2: tool.edgebudget is no table."),
    ("pyproject.toml", "[tool.edgebudget]\nmodels = [1979-05-27]\n", ":2: models[0]: "),
]


@pytest.mark.parametrize(("name", "text", "said"), BAD, ids=[text for _, text, _ in BAD])
def test_what_is_wrong_is_one_sentence_with_line_and_key(
    name: str, text: str, said: str, repository: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (repository / name).write_text(text)
    with pytest.raises(SettingsError):
        load_settings(repository)
    assert main(["check", "-q"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"edgebudget: {name}")
    assert said in err
    assert len(err.splitlines()) == 1


def test_both_in_one_folder_are_refused(repository: Path) -> None:
    (repository / "edgebudget.yaml").write_text("models: [a]\n")
    (repository / "pyproject.toml").write_text("[tool.edgebudget]\nmodels = ['b']\n")
    with pytest.raises(SettingsError, match="both hold settings"):
        load_settings(repository)


def test_what_is_not_text_is_one_sentence(repository: Path) -> None:
    (repository / "edgebudget.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="not UTF-8 text"):
        load_settings(repository)


def test_a_bare_check_works_from_anywhere_below_and_the_command_line_wins(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def options(*arguments: str, code: int = 0) -> list[tuple[str, str, str]]:
        assert main(["check", "--format", "json", *arguments]) == code
        out, err = capfd.readouterr()
        assert ("settings of" in err) is ("-q" not in arguments)
        return [(r["model"], r["device"], r["dtype"]) for r in json.loads(out)["results"]]

    (repository / "edgebudget.yaml").write_text(FULL.replace("  baseline: base.json\n", ""))
    written = options()
    assert written == [
        ("tiny.py:tiny", device, dtype) for device in ("linux-x86_64", "mine") for dtype in ("int8", "float32")
    ]
    monkeypatch.chdir(repository / "deep" / "er")
    assert options() == written
    assert options("-q", "--device", "linux-x86_64", "--dtype", "float32") == [written[1]]
    named = f"{repository}/tiny.py:tiny"
    assert {model for model, _, _ in options(named)} == {named}
    assert Path.cwd() == repository / "deep" / "er"


def test_the_policy_holds_until_the_command_line_says_otherwise(
    repository: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def check(*arguments: str) -> int:
        return main(["check", "-q", "--format", "json", *arguments])

    (repository / "edgebudget.yaml").write_text(
        "models: [tiny.py:tiny]\ndevices: [linux-x86_64]\nruntimes: [pytorch]\n"
    )
    assert check("--dtype", "float32") == 0
    text = capfd.readouterr().out
    result = json.loads(text)["results"][0]
    keep = 100 - 100 * result["peak_bytes"] / result["budget_bytes"]
    (repository / "base.json").write_text(text)
    policy = {"headroom": f"{keep:.6f}%", "allow-marginal": True, "baseline": "base.json"}
    settings = {"models": ["tiny.py:tiny"], "devices": ["linux-x86_64"], "runtimes": ["pytorch"], "policy": policy}
    (repository / "edgebudget.yaml").write_text(yaml.safe_dump(settings | {"dtypes": ["float32"]}))
    assert check() == 0
    assert json.loads(capfd.readouterr().out)["decision"] == "MARGINAL"
    assert check("--no-allow-marginal") == 1
    assert check("--headroom", "0") == 0
    (repository / "base.json").write_text("")  # as a shell leaves it that is about to write it anew
    assert check() == 2
    assert check("--baseline", "none") == 0
    (repository / "base.json").write_text(text)
    capfd.readouterr()
    assert check("--batch", "9") == 0  # mostly the runtime itself: within 5 % of the baseline
    assert check("--batch", "9", "--max-growth", "0") == 1
    assert "grew by more than 0 % since" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--max-growth", "3"], "--max-growth has nothing to compare with"),
        (["--baseline", "none.json"], "The baseline none.json cannot be read: No such file"),
        (["--baseline", "."], "cannot be read: Is a directory"),
        (["--baseline", "tiny.py"], "tiny.py: not JSON"),
        (["--baseline", "binary", "--max-growth", "3"], "it is not text"),
        (["--baseline", "list.json", "--max-growth", "lots"], "--max-growth: 'lots' is not a percentage"),
        (["--baseline", "list.json"], "list.json: not a report of 'edgebudget check'"),
    ],
)
def test_a_bad_baseline_is_one_sentence_before_any_work(
    arguments: list[str], said: str, repository: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (repository / "list.json").write_text("[]")
    (repository / "binary").write_bytes(b"\xff\xfe\x00")
    assert main(["check", "tiny.py:tiny", "--device", "raspberrypi", *arguments]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert said in err
    assert len(err.splitlines()) == 1
