"""The estimate for eager PyTorch against recorded peaks of its CPU allocator (`record_pytorch_allocator.py`)."""

import statistics
from collections.abc import Iterable

import pytest

from tests.pytorch_allocator import Measurement, predicted, read

RECORDED = read()


def errors(measurements: Iterable[Measurement]) -> dict[str, float]:
    """Return the relative error by what was measured."""
    return {
        f"{m.model}@{m.dtype}@{'onednn' if m.onednn else 'off'}@{m.isa}": predicted(m)[0] / m.peak_bytes - 1
        for m in measurements
    }


def table(found: dict[str, float]) -> str:
    return "\n".join(f"{name:70} {error:+9.3%}" for name, error in sorted(found.items(), key=lambda e: -abs(e[1])))


def percentile_95(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]


def of(judges: bool, dtype: str, onednn: bool, isa: str) -> list[Measurement]:
    return [m for m in RECORDED.values() if (m.judges, m.dtype, m.onednn, m.isa) == (judges, dtype, onednn, isa)]


@pytest.mark.parametrize("model", ["mobilenet_v2", "resnet18", "swin_t", "timm:levit_128s", "timm:pvt_v2_b0"])
def test_a_recorded_peak_is_met_to_the_byte(model: str) -> None:
    measured = RECORDED[(model, "float32", True, "avx512")]
    assert predicted(measured)[0] == measured.peak_bytes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "onednn", "isa"),
    [
        ("float32", True, "avx512"),
        ("float32", True, "avx2"),
        ("float32", False, "avx512"),
        ("float16", True, "avx512"),
        ("bfloat16", True, "avx512"),
    ],
)
def test_errors_on_the_models_that_judge(dtype: str, onednn: bool, isa: str) -> None:
    found = errors(of(True, dtype, onednn, isa))
    print(f"\n{dtype}, oneDNN {onednn}, {isa}: {len(found)} models that judge\n{table(found)}")
    assert len(found) >= 10
    assert statistics.median(abs(error) for error in found.values()) <= 0.001
    assert percentile_95(abs(error) for error in found.values()) <= 0.01


def test_enough_is_recorded_and_each_row_says_where_it_comes_from() -> None:
    assert len({m.model for m in RECORDED.values()}) >= 60
    assert {m.threads for m in RECORDED.values()} == {1}
    assert all(m.torch and m.isa and m.inputs and m.peak_bytes > 0 for m in RECORDED.values())
    assert len(of(True, "float32", True, "avx512")) >= 30
