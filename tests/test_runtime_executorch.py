"""How portable ExecuTorch programs are laid out: dtypes, targets, heap, file; planned bytes have tests of their own."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from executorch_cases import CASES, Forward
from executorch_models import text_encoder
from torch import nn, randn

from edgebudget.dtypes import DTYPES
from edgebudget.graph import TracedGraph, Truncation
from edgebudget.inputs import parse_input
from edgebudget.runtimes import RUNTIMES
from edgebudget.runtimes.interface import MemoryLayout, Unsupported
from edgebudget.sources import load_model
from edgebudget.target import GENERIC, Target
from edgebudget.tracing import trace

DATA = Path(__file__).parents[1] / "edgebudget" / "calibration" / "data"
X86 = Target(isa="x86-64")


def lay_out(graph: TracedGraph, dtype: str = "float32", target: Target = GENERIC) -> MemoryLayout | Unsupported:
    return RUNTIMES.get("executorch").lay_out(graph, DTYPES.get(dtype), target)


def laid_out(graph: TracedGraph, dtype: str = "float32", target: Target = GENERIC) -> MemoryLayout:
    layout = lay_out(graph, dtype, target)
    assert isinstance(layout, MemoryLayout)
    return layout


@pytest.fixture(scope="module")
def encoder() -> TracedGraph:
    module, inputs = text_encoder()
    return trace(module, inputs, name="text_encoder")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_two_byte_types_plan_what_a_converted_model_plans(encoder: TracedGraph, dtype: str) -> None:
    # executorch 1.5.1, `module.to(dtype)` lowered: 155,648 planned bytes, and its runtime runs it.
    assert laid_out(encoder, dtype).activation_bytes == 155_648
    assert laid_out(encoder).activation_bytes == 311_296


@pytest.mark.parametrize("dtype", [name for name in DTYPES.names() if name.startswith("int")])
def test_quantized_programs_have_no_portable_kernels(encoder: TracedGraph, dtype: str) -> None:
    layout = lay_out(encoder, dtype)
    assert isinstance(layout, Unsupported)
    assert dtype in layout.reason


def test_weights_stay_in_the_file(encoder: TracedGraph) -> None:
    layout = laid_out(encoder)
    weights = sum(s.nbytes for s in encoder.storages if s.role.is_weight)
    assert layout.inference_heap_bytes < layout.activation_bytes + weights
    assert weights <= layout.inference_mapped_bytes < weights + 64 * 1024
    assert 0 < layout.load_mapped_bytes < layout.inference_mapped_bytes
    assert layout.storage_bytes <= layout.inference_mapped_bytes


def test_in_flash_nothing_is_mapped(encoder: TracedGraph) -> None:
    layout = laid_out(encoder, target=Target(isa="armv7e-m", pointer_bits=32, weights_in="flash"))
    assert (layout.load_mapped_bytes, layout.inference_mapped_bytes) == (0, 0)


def test_small_pointers_make_small_structures_and_the_same_arena(encoder: TracedGraph) -> None:
    wide, narrow = laid_out(encoder), laid_out(encoder, target=Target(pointer_bits=32))
    assert narrow.activation_bytes == wide.activation_bytes
    assert narrow.load_heap_bytes < wide.load_heap_bytes


def test_a_model_that_export_cannot_follow_is_unsupported(encoder: TracedGraph) -> None:
    cut = replace(encoder, truncation=Truncation("head", "aten.item.default", "head reads a value."))
    layout = lay_out(cut)
    assert isinstance(layout, Unsupported)
    assert "head reads a value." in layout.reason


def test_the_peak_is_that_of_the_timeline(encoder: TracedGraph) -> None:
    layout = laid_out(encoder)
    alive = [nbytes for _, nbytes in layout.timeline]
    assert max(alive) == layout.activation_lower_bound_bytes == alive[layout.peak_op.index]
    assert layout.timeline[layout.peak_op.index][0].startswith(layout.peak_op.module)
    assert layout.activation_peak_numel * 4 == layout.activation_lower_bound_bytes
    for position, nbytes in enumerate(alive):
        assert sum(t.nbytes for t in layout.tensors if t.first <= position <= t.last) == nbytes


def test_of_the_portable_kernels_topk_alone_takes_scratch() -> None:
    case = CASES["topk"]()
    layout = laid_out(trace(case.module, case.inputs))
    assert layout.workspace_bytes == 8 * 16
    assert laid_out(trace(nn.Linear(4, 4), (randn(1, 4),))).workspace_bytes == 0


def test_a_plan_is_made_once() -> None:
    graph = trace(Forward(lambda m, x: x + 1), (randn(4),))
    assert laid_out(graph).arena is laid_out(graph, target=X86).arena


def _measured() -> list[Mapping[str, object]]:
    rows = [json.loads(line) for line in (DATA / "build.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["backend"] == "executorch"]


@pytest.mark.parametrize("row", _measured()[:6], ids=lambda row: row["model"])
def test_the_heap_is_what_was_measured(row: Mapping[str, object]) -> None:
    loaded = load_model(str(row["model"]), [parse_input(text) for text in row["inputs"]])  # type: ignore[attr-defined]
    layout = laid_out(trace(loaded.module, loaded.args, loaded.kwargs), target=X86)
    phases: Mapping[str, Mapping[str, Mapping[str, int]]] = row["phases"]  # type: ignore[assignment]
    before = phases["baseline"]["heap"]["live_bytes"]
    assert layout.inference_heap_bytes == pytest.approx(phases["load"]["heap"]["live_bytes"] - before, abs=64)
    assert layout.load_heap_bytes == pytest.approx(phases["load"]["heap"]["peak_bytes"] - before, rel=0.005)


@pytest.mark.parametrize(
    ("shape", "other", "packed"),
    [
        ((1, 1024), (1024, 4096), 8_519_680),
        ((64, 512), (512, 2048), 524_288),
        ((300, 3000), (3000, 700), 2_432_000),
        ((2, 400, 900), (2, 900, 500), 1_641_600),
        ((1, 197, 64), (1, 64, 197), 0),
    ],
)
def test_products_pack_blocks_of_their_matrices(shape: tuple[int, ...], other: tuple[int, ...], packed: int) -> None:
    """Measured: the heap's peak over what is live after runs, less the 8 or 16 bytes of malloc's own."""

    product = Forward(lambda _, x, y: x @ y if x.dim() == 2 else x.bmm(y))
    assert laid_out(trace(product, (randn(shape), randn(other)))).workspace_bytes == packed
