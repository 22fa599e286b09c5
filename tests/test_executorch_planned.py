"""Planned bytes and file sizes of real models against what executorch gave when it was asked."""

import csv
from collections.abc import Mapping
from pathlib import Path

import pytest

from edgebudget.dtypes import DTYPES
from edgebudget.inputs import parse_input
from edgebudget.planning import verify_plan
from edgebudget.runtimes import RUNTIMES
from edgebudget.runtimes.interface import MemoryLayout, Unsupported
from edgebudget.sources import load_model
from edgebudget.target import Target
from edgebudget.tracing import trace

ROOT = Path(__file__).parents[1]
ROWS = list(csv.DictReader((ROOT / "edgebudget/calibration/data/executorch_planned.csv").open(encoding="utf-8")))
QUICK = {
    "mobilenet_v2", "resnet18", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x1_0", "swin_t",
    "lraspp_mobilenet_v3_large", "tests/executorch_models.py:gru", "tests/executorch_models.py:lstm",
    "tests/executorch_models.py:text_encoder", "timm:deit_tiny_patch16_224", "timm:efficientvit_m0", "timm:lcnet_050",
}  # fmt: skip


DO_NOT_RUN = {"timm:lambda_resnet26t": "aten.conv3d.default"}  # lowered, planned and written, and refused when they run


def lay_out(row: Mapping[str, str]) -> MemoryLayout | Unsupported:
    reference = row["model"]
    if reference.startswith("timm:"):
        pytest.importorskip("timm")
    if reference.startswith("tests/"):
        reference = str(ROOT / reference)
    loaded = load_model(reference, [parse_input(text) for text in row["inputs"].split()])
    graph = trace(loaded.module, loaded.args, loaded.kwargs, name=row["model"])
    return RUNTIMES.get("executorch").lay_out(graph, DTYPES.get("float32"), Target(isa="x86-64"))


def check(row: Mapping[str, str]) -> None:
    layout = lay_out(row)
    if row["model"] in DO_NOT_RUN:
        assert isinstance(layout, Unsupported)
        assert DO_NOT_RUN[row["model"]] in layout.reason
        return
    assert isinstance(layout, MemoryLayout)
    assert layout.activation_bytes == int(row["planned_bytes"])
    assert layout.arena is not None
    verify_plan(layout.arena, 16)
    if row["pte_bytes"]:
        assert layout.storage_bytes == pytest.approx(int(row["pte_bytes"]), rel=0.005)


@pytest.mark.parametrize("row", [row for row in ROWS if row["model"] in QUICK], ids=lambda row: row["model"])
def test_planned_bytes_are_exact(row: Mapping[str, str]) -> None:
    check(row)


@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in ROWS if row["model"] not in QUICK], ids=lambda row: row["model"])
def test_planned_bytes_are_exact_for_every_recorded_model(row: Mapping[str, str]) -> None:
    check(row)


def test_at_least_sixty_models_are_recorded_once_each() -> None:
    models = [row["model"] for row in ROWS]
    assert len(set(models)) == len(models) >= 60
    assert set(models) >= QUICK
