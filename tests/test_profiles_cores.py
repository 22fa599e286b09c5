"""Dtype support from the cores."""

import pytest

from edgebudget.profiles.cores import CORES, dtype_support, unknown_cores


@pytest.mark.parametrize(
    ("isa", "cores", "float32", "float16", "bfloat16"),
    [
        ("armv8-a", ["cortex-a72"], "native", "storage", "storage"),
        ("armv8-a", ["cortex-a53"], "native", "storage", "storage"),
        ("armv8.2-a", ["cortex-a76"], "native", "native", "storage"),
        ("armv9-a", ["cortex-x4", "cortex-a720", "cortex-a520"], "native", "native", "native"),
        ("armv8.2-a", ["cortex-x2", "cortex-a78"], "native", "native", "storage"),  # mixed: what all have
        ("armv8.2-a", ["cortex-a76", "cortex-a53"], "native", "storage", "storage"),
        ("armv8.2-a", ["carmel"], "native", "native", "storage"),
        ("x86-64", [], "native", "storage", "storage"),
        ("armv6-m", ["cortex-m0+"], "emulated", "emulated", "emulated"),
        ("armv7e-m", ["cortex-m4f"], "native", "storage", "storage"),
        ("armv8.1-m", ["cortex-m55"], "native", "native", "storage"),
        ("armv6-m", [], "emulated", "emulated", "emulated"),
        ("armv8-a", ["a-core-of-tomorrow"], "native", "storage", "storage"),  # no more than its instruction set
    ],
)
def test_support_follows_from_the_cores(isa: str, cores: list[str], float32: str, float16: str, bfloat16: str) -> None:
    support = dtype_support(isa, cores)
    assert (support["float32"], support["float16"], support["bfloat16"]) == (float32, float16, bfloat16)
    assert support["int8"] == "native"
    assert support["int4"] == "storage"


@pytest.mark.parametrize("first", CORES)
def test_mixing_never_adds(first: str) -> None:
    rank = ("native", "storage", "emulated", "unsupported")
    alone = dtype_support("armv8-a", [first])
    for second in ("cortex-a53", "cortex-m0+", "cortex-x4"):
        mixed = dtype_support("armv8-a", [first, second])
        assert mixed == dtype_support("armv8-a", [second, first])
        assert all(rank.index(mixed[dtype]) >= rank.index(alone[dtype]) for dtype in alone)


@pytest.mark.parametrize("core", CORES)
def test_table_is_consistent(core: str) -> None:
    has = CORES[core]
    assert core == core.lower()
    assert has.floating_point or not (has.vector_float or has.fp16 or has.bf16)
    assert not has.i8mm or has.dotprod
    assert not has.bf16 or has.fp16


def test_unknown_cores() -> None:
    assert unknown_cores(["cortex-a72", "cortex-z9"]) == ["cortex-z9"]
