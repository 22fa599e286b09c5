"""The table over models, devices, runtimes and dtypes."""

import pytest

import edgebudget as eb
from edgebudget.comparison import Comparison
from edgebudget.report import ReportError
from edgebudget.verdict import RANK, Decision
from tests.handmade import report


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return eb.compare(
        ["mobilenet_v2"],
        ["raspberrypi", "stm32h743"],
        ["float32", "int8", "int8-weight-only"],
        ["executorch-xnnpack", "pytorch"],
    )


def test_the_best_of_each_pair_is_on_top(comparison: Comparison) -> None:
    table = comparison.to_frame()
    assert len(table) == len(comparison.report.results) == 12
    assert list(table["device"].unique()) == ["raspberrypi", "stm32h743"]
    for _, rows in table.groupby("device"):
        decisions = [RANK.index(Decision(decision)) for decision in rows["decision"]]
        assert decisions[1:] == sorted(decisions[1:])
        going = rows[rows["decision"] == "GO"]
        assert list(going["recommended"]) == [True] * bool(len(going)) + [False] * (len(going) - 1)


def test_differences_are_to_float32_in_the_same_runtime(comparison: Comparison) -> None:
    table = comparison.to_frame()
    rows = table[table["device"] == "raspberrypi"].set_index(["runtime", "dtype"])
    for runtime in ("executorch-xnnpack", "pytorch"):
        plain, small = rows.loc[(runtime, "float32")], rows.loc[(runtime, "int8")]
        assert plain["peak_vs_float32_bytes"] == plain["peak_vs_float32_percent"] == 0
        difference = small["peak_bytes"] - plain["peak_bytes"]
        assert small["peak_vs_float32_bytes"] == difference < 0
        assert small["peak_vs_float32_percent"] == round(100 * difference / plain["peak_bytes"], 2)
        assert small["storage_vs_float32_bytes"] == small["storage_bytes"] - plain["storage_bytes"]
    refused = rows.loc[("executorch-xnnpack", "int8-weight-only")]
    assert refused["decision"] == "UNSUPPORTED"
    assert table["peak_vs_float32_bytes"].isna().sum() == (table["peak_bytes"].isna()).sum()


def test_without_float32_there_is_no_difference() -> None:
    table = eb.compare(["squeezenet1_1"], ["raspberrypi"], ["int8"]).to_frame()
    assert table["peak_vs_float32_bytes"].isna().all()


def test_the_matrix_has_a_row_a_pair_and_the_one_to_take_in_bold(comparison: Comparison) -> None:
    lines = comparison.to_markdown().splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[0].startswith("| model | device | executorch-xnnpack float32 |")
    assert lines[2].startswith("| mobilenet_v2 | raspberrypi | **GO** | GO | UNSUPPORTED |")
    assert len(lines) == 4


def test_a_model_that_failed_stands_below_the_matrix() -> None:
    failed = report()
    broken = Comparison(
        type(failed)("1", failed.generated_at, Decision.ERROR, (), (ReportError("m|n", None, "No.", ""),))
    )
    assert broken.to_markdown().endswith("\nm|n: No.\n")
    assert list(broken.to_frame()["decision"]) == ["ERROR"]
