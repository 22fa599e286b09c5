"""Sweeps: every model a row, whatever it does; nothing lost or repeated, whatever happens to the sweep."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebudget.cli import main
from edgebudget.errors import EdgeBudgetError, ModelError, OutputError, ProfileError, UsageError
from edgebudget.sources import expand_models
from edgebudget.sweeping.journal import open_journal
from edgebudget.sweeping.plan import Plan, Resolution, Unit, load_plan, parse_plan, parse_resolution, units
from edgebudget.sweeping.rows import COLUMNS, Failure, Finished, failed
from edgebudget.sweeping.table import write_csv, write_parquet
from tests.sweeps import ROOT, run, start, wait_for_lines, workers_of, write_models

HEADER = {"request": "x"}
FAILURES = {
    "raises": Failure.NOT_ESTIMATED, "nosuch": Failure.NOT_ESTIMATED, "killed": Failure.CRASH,
    "leaves": Failure.CRASH, "hangs": Failure.TIMEOUT, "eats": Failure.MEMORY,
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def swept(models: Path) -> Iterator[tuple[int, str, Path]]:
    """One sweep over models of every kind, as Parquet."""
    names = [f"{models}:{name}" for name in ("fine", *FAILURES, "spills")]
    out = models.parent / "all.parquet"
    code, text, err = run(
        *names, "--out", str(out), "--timeout", "8", "--memory-limit", "1GiB", "--jobs", "2", SWEEP_OF=str(models)
    )
    assert "Traceback" not in err
    yield code, text, out
    assert workers_of(models) == []


def test_each_model_that_misbehaves_is_one_row_with_its_reason(swept: tuple[int, str, Path]) -> None:
    code, text, out = swept
    table = pd.read_parquet(out)
    rows = {model.rpartition(":")[2]: group for model, group in table.groupby("model")}
    assert list(dict.fromkeys(table.model.str.rpartition(":")[2])) == ["fine", *FAILURES, "spills"]
    assert {name: [*group.failure] for name, group in rows.items() if name in FAILURES} == {
        name: [kind] for name, kind in FAILURES.items()
    }
    assert all(rows[name].reasons.iloc[0].strip() for name in FAILURES)
    assert (rows["fine"].decision.tolist(), rows["spills"].decision.tolist()) == (["GO"], ["GO"])
    assert rows["fine"].peak_bytes.tolist() == rows["spills"].peak_bytes.tolist()
    assert code == 2
    assert text.startswith(f"{out}: 2 of 8 estimated.\n")
    assert not out.with_name(out.name + ".part").exists()


def test_pandas_and_duckdb_read_the_same(swept: tuple[int, str, Path]) -> None:
    duckdb = pytest.importorskip("duckdb")
    table = pd.read_parquet(swept[2])
    assert list(table.columns) == list(COLUMNS)
    query = f"select decision, count(*), max(peak_bytes) from '{swept[2]}' group by decision order by 1"
    counted = duckdb.sql(query).fetchall()
    assert counted == [("ERROR", 6, None), ("GO", 2, int(table.peak_bytes.max()))]


def test_what_is_there_is_not_swept_again(swept: tuple[int, str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    before = swept[2].read_bytes()
    assert main(["sweep", "resnet18", "--device", "raspberrypi", "--out", str(swept[2])]) == 2
    assert "exists already" in capfd.readouterr().err
    assert swept[2].read_bytes() == before


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT], ids=["SIGKILL", "Ctrl-C"])
def test_a_killed_sweep_goes_on_without_loss_or_repetition(models: Path, tmp_path: Path, sent: signal.Signals) -> None:
    names = [f"{models}:naps{i}" for i in range(12)]  # seconds of work: a busy machine is late to kill
    part = tmp_path / "zoo.csv.part"
    arguments = (*names, "--out", str(tmp_path / "zoo.csv"), "--jobs", "2")
    first = start(*arguments, SWEEP_OF=str(part))
    wait_for_lines(part, 3)
    os.kill(first.pid, sent)
    _, err = first.communicate(timeout=60)
    assert first.returncode == (130 if sent == signal.SIGINT else -sent)
    assert "Traceback" not in err
    if sent == signal.SIGINT:
        assert "the same command goes on there" in err
    deadline = time.monotonic() + 60
    while workers_of(part):
        assert time.monotonic() < deadline, "processes were left behind"
        time.sleep(0.1)
    kept = part.read_bytes()
    done = kept.count(b"\n") - 1
    assert 2 <= done < 12
    part.write_bytes(kept + b'{"model":"cut off in the midd')

    code, text, err = run(*arguments)
    assert (code, err) == (0, "")
    assert text.startswith(f"{tmp_path / 'zoo.csv'}: 12 of 12 estimated.")
    rows = list(csv.DictReader((tmp_path / "zoo.csv").open()))
    assert [row["model"] for row in rows] == names
    assert [path.name for path in tmp_path.iterdir()] == ["zoo.csv"]


def test_two_at_once_on_one_output_do_not_mix(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    part = tmp_path / "zoo.csv.part"
    with open_journal(part, HEADER):
        assert main(["sweep", "resnet18", "--device", "raspberrypi", "--out", str(tmp_path / "zoo.csv")]) == 2
    assert "Another sweep is writing" in capfd.readouterr().err


def unit(number: int) -> Finished:
    return failed(Unit(f"model{number}", Resolution((number, 7))), Failure.CRASH, "It died.")


@given(cut=st.integers(0, 400), count=st.integers(0, 3))
def test_a_part_file_cut_anywhere_loses_its_last_unit_at_most(
    tmp_path_factory: pytest.TempPathFactory, cut: int, count: int
) -> None:
    path = tmp_path_factory.mktemp("cut") / "x.part"
    with open_journal(path, HEADER) as journal:
        for number in range(1, count + 1):
            journal.add(unit(number))
        ends = [journal.places[unit(number).unit] for number in range(1, count + 1)]
    data = path.read_bytes()
    path.write_bytes(data[: max(len(data) - cut, 0)])
    whole = [n for n, (offset, length) in enumerate(ends, 1) if offset + length <= len(data) - cut]
    with open_journal(path, HEADER) as journal:
        assert list(journal.places) == [unit(n).unit for n in whole]
        journal.add(unit(9))
        assert journal.read(unit(9).unit) == unit(9)
        assert [journal.read(unit(n).unit) for n in whole] == [unit(n) for n in whole]


@pytest.mark.parametrize("line", [b"\x80\n", b"[]\n", b"{}\n", b"null\n", b"[" * 9999 + b"\n", b'{"model":1}\n'])
def test_a_foreign_part_file_is_left_alone(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "x.part"
    with open_journal(path, HEADER):
        pass
    for text in (line, path.read_bytes() + line):
        path.write_bytes(text)
        with pytest.raises(UsageError, match="cannot be taken up"), open_journal(path, HEADER):
            pass
        assert path.read_bytes() == text


def test_other_options_do_not_go_on_with_the_same_file(tmp_path: Path) -> None:
    with open_journal(tmp_path / "x.part", HEADER):
        pass
    with pytest.raises(UsageError, match="other options"), open_journal(tmp_path / "x.part", {"request": "y"}):
        pass


def test_a_link_or_a_pipe_in_place_of_the_part_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("kept")
    (tmp_path / "link.part").symlink_to(tmp_path / "victim")
    os.mkfifo(tmp_path / "pipe.part")
    for name in ("link.part", "pipe.part"):
        with pytest.raises(OutputError), open_journal(tmp_path / name, HEADER):
            pass
    assert (tmp_path / "victim").read_text() == "kept"


def test_the_fingerprint_is_the_same_in_every_process() -> None:
    code = (
        "from edgebudget.pipeline import Request, resolve_asked; from edgebudget.sweeping.run import fingerprint;"
        "from edgebudget.calibration.store import shipped;"
        "print(fingerprint(Request(resolve_asked(['all']), calibrations=shipped()))['request'])"
    )
    made = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "12"
    }
    assert len(made) == 1


def test_csv_and_parquet_have_the_same_cells(tmp_path: Path) -> None:
    values = [f"text{i}" if isinstance(i, str) else i for i in range(len(COLUMNS))]
    row = [None if i % 5 == 4 else value for i, value in enumerate(values)]
    row = [
        str(cell) if not _counts(name) and cell is not None else cell for name, cell in zip(COLUMNS, row, strict=True)
    ]
    row[COLUMNS.index("recommended")] = True
    row[0] = "=model\x1b"
    finished = [Finished(Unit("m"), (row,))]
    write_csv(finished, tmp_path / "x.csv")
    write_parquet(finished, tmp_path / "x.parquet")
    read = pd.read_parquet(tmp_path / "x.parquet").astype(object)
    assert [None if pd.isna(cell) else cell for cell in read.iloc[0]] == row
    written = next(csv.DictReader((tmp_path / "x.csv").open()))
    assert written["model"] == "'=model\\x1b"
    assert list(written.values())[1:] == ["" if cell is None else str(cell) for cell in row[1:]]


def _counts(name: str) -> bool:
    return name.endswith(("_bytes", "_numel", "_index")) or name == "batch"


PLAN = """schema_version: 1
models: ['torchvision:resnet*', mobilenet_v2]
resolutions: [224, 192x320, default]
dtypes: [float32]
devices: [raspberrypi]
batch: 2
"""


def test_a_plan_says_what_to_sweep(tmp_path: Path) -> None:
    assert parse_plan(PLAN, "p.yaml") == Plan(
        models=("torchvision:resnet*", "mobilenet_v2"),
        resolutions=(Resolution((224, 224)), Resolution((192, 320)), Resolution()),
        batch=2,
        dtypes=("float32",),
        devices=("raspberrypi",),
    )
    (tmp_path / "p.yaml").write_text(PLAN)
    assert load_plan(tmp_path / "p.yaml") == parse_plan(PLAN, "other")
    assert [f"{u.model} {u.resolution}" for u in units(("a", "b"), (Resolution(), Resolution((1, 2))))] == [
        "a default", "a 1x2", "b default", "b 1x2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: [a]", "p.yaml:1:1: 'schema_version' is a required property"),
        ("schema_version: 1\nmodels: a", "p.yaml:2:1: models: 'a' is not of type 'array'"),
        ("schema_version: 1\nmodels: [a]\nresolutions: [0]", "resolutions[0]: '0' is not a resolution"),
        ("schema_version: 1\nmodels: [a]\nresolutions: [1e9]", "resolutions[0]"),
        ("schema_version: 1\nmodels: [a]\nrun: x", "'run' was unexpected"),
        ("schema_version: 1\nmodels: [&a x, *a]", "anchors and aliases are not allowed"),
        ("schema_version: 1\nmodels: !!python/object/apply:os.system [x]", "is not allowed"),
        ("[", "not valid YAML"),
        ("x" * 70_000, "longer than 64 KiB"),
    ],
)
def test_a_plan_that_is_wrong_is_one_sentence(text: str, message: str) -> None:
    with pytest.raises(EdgeBudgetError) as raised:
        parse_plan(text, "p.yaml")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@given(st.text(max_size=200) | st.sampled_from(PLAN.splitlines()).map(lambda line: PLAN.replace(line, line[::-1])))
def test_no_plan_breaks_the_reader(text: str) -> None:
    with suppress(UsageError, ProfileError):
        assert parse_plan(text, "p.yaml").models


@given(st.text(max_size=20))
def test_no_resolution_breaks_the_reader(text: str) -> None:
    with suppress(UsageError):
        assert parse_resolution(str(parse_resolution(text))) == parse_resolution(text)


def test_globs_are_looked_up_without_building_models() -> None:
    assert expand_models(["torchvision:resnet1*", "resnet18", "x.py:*".replace("*", "f")]) == (
        "torchvision:resnet101", "torchvision:resnet152", "torchvision:resnet18", "resnet18", "x.py:f",
    )  # fmt: skip
    assert expand_models(["mobilenet_v[2]"]) == ("mobilenet_v2",)
    assert Counter(expand_models(["resnet18", "resnet1?"]))["resnet18"] == 1
    for wrong in ("torchvision:none*", "file.py:*", "*.pt2", "[" * 50):
        with pytest.raises(ModelError, match="matches no model"):
            expand_models([wrong])


def test_timm_globs_name_architectures() -> None:
    pytest.importorskip("timm")
    found = expand_models(["timm:mobilenetv4_conv_small*"])
    assert "timm:mobilenetv4_conv_small" in found
    assert all(name.startswith("timm:mobilenetv4") and "." not in name for name in found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "x.txt"], "neither CSV nor Parquet"),
        (["--resolution", "big"], "not a resolution"),
        (["--memory-limit", "1GB"], "--memory-limit"),
        (["--backend", "slurm"], "Unknown backend"),
        (["--address", "here:1"], "--address is a cluster's"),
        (["--backend", "dask"], "No scheduler was named"),
        (["--plan", "none.yaml"], "cannot be read"),
        (["--timeout", "0"], "--timeout"),
        (["--dtype", "int3"], "Unknown dtype"),
    ],
)
def test_wrong_usage_is_one_sentence_and_leaves_no_table(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", "resnet18", "--device", "raspberrypi", *arguments]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".part"] == []
