"""`edgebudget calibrate` and `validate` from the command line, with what is wrong said in one sentence."""

import json
import re
from pathlib import Path

import pytest

from edgebudget.calibration.store import load_calibrations, shipped
from edgebudget.cli import main
from edgebudget.errors import CalibrationError
from edgebudget.evidence import recorded_measurements
from edgebudget.measure.records import to_json_line


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Two recorded measurements of one small model."""
    path = tmp_path / "few.jsonl"
    lines = [to_json_line(m) for m in recorded_measurements("build") if m.subject.model == "mobilenet_v2"]
    path.write_text("\n".join(lines[:2]) + "\n", encoding="utf-8")
    return path


def test_too_few_measurements_are_named_and_nothing_is_written(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "fit.json"
    assert main(["calibrate", "--data", str(few), "--out", str(out)]) == 2
    said = capsys.readouterr()
    assert "A fit needs at least 10 of 5" in said.err
    assert "Nothing could be fitted to 2 measurements" in said.err
    assert said.out == ""
    assert not out.exists()


def test_the_table_of_ones_own_measurements(few: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--data", str(few), "--models", "--calibration", "none"]) == 0
    table = capsys.readouterr().out
    assert "2 measurements of 1 models" in table
    assert re.search(r"\| mobilenet_v2 \| [^|]+ \| executorch-xnnpack \| float32 \| load heap \|", table)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["validate", "--part", "both"], "There is no part 'both'"),
        (["validate", "--data", "missing.jsonl"], "missing.jsonl cannot be read"),
        (["calibrate", "--data", "missing.jsonl"], "missing.jsonl cannot be read"),
        (["check", "mobilenet_v2", "--device", "raspberrypi", "--calibration", "missing.json"], "cannot be read"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert sentence in said.err
    assert len(said.err.strip().splitlines()) == 1


@pytest.mark.parametrize("text", ["", "nonsense", "[1, 2]", '{"schema_version": 1}\n'])
def test_measurements_that_are_none_are_named_with_their_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text(text, encoding="utf-8")
    assert main(["calibrate", "--data", str(path)]) == 2


def test_a_calibration_file_is_held_to_the_schema(tmp_path: Path) -> None:
    path = tmp_path / "fit.json"
    path.write_text(json.dumps({"schema_version": 1, "fits": [{"runtime": "pytorch"}]}), encoding="utf-8")
    with pytest.raises(CalibrationError, match=r"fit\.json: fits\.0: "):
        load_calibrations(str(path))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(CalibrationError, match="it is not text"):
        load_calibrations(str(path))


def test_names_of_calibrations() -> None:
    assert load_calibrations("none").fits == ()
    assert load_calibrations(None) is load_calibrations("shipped") is shipped()
