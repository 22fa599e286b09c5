"""Options mixed by module from YAML."""

from pathlib import Path

import pytest
import torch
from torch import nn

from edgebudget.dtypes import DTYPES
from edgebudget.errors import UsageError
from edgebudget.estimation import estimate
from edgebudget.graph import TracedGraph
from edgebudget.runtimes import RUNTIMES
from edgebudget.runtimes.interface import MemoryLayout, Unsupported
from edgebudget.tracing import trace


def net() -> TracedGraph:
    model = nn.Sequential()
    model.add_module("features", nn.Sequential(nn.Conv2d(3, 256, 9, padding=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1)))
    model.add_module("flat", nn.Flatten())
    model.add_module("head", nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)))
    return trace(model, (torch.zeros(1, 3, 16, 16),), name="net")


def written(folder: Path, text: str) -> str:
    path = folder / "mixed.yaml"
    path.write_text(text)
    return str(path)


def test_each_module_is_held_as_its_option_says(tmp_path: Path) -> None:
    graph = net()
    name = written(tmp_path, "default: int8\nmodules:\n  'head*': float32\n  head.2: int8-weight-only\n")
    option = DTYPES.get(name)
    assert option.by_operator(graph) == ("int8",) * 4 + ("float32", "float32", "int8-weight-only")
    held = {s.name: option.assign(graph)[s.id] for s in graph.weights}
    plain = {d: DTYPES.get(d).assign(graph) for d in ("int8", "float32", "int8-weight-only")}
    by_name = {s.name: s.id for s in graph.weights}
    for weight, dtype in (
        ("features.0.weight", "int8"),
        ("head.0.weight", "float32"),
        ("head.0.bias", "float32"),
        ("head.2.weight", "int8-weight-only"),
    ):
        assert held[weight] == plain[dtype][by_name[weight]], weight


@pytest.mark.parametrize("runtime", RUNTIMES.names())
@pytest.mark.parametrize(
    "parts",
    [
        "default: int8\nmodules: {head: float32}",
        "modules: {head: int8-dynamic}",
        "modules: {head.0: int4-weight-only, head.2: int8-weight-only}",
        "default: float16\nmodules: {head: int8}",
    ],
)
def test_a_runtime_has_a_number_with_all_its_parts_or_a_reason(tmp_path: Path, parts: str, runtime: str) -> None:
    layout = estimate(net(), dtype=written(tmp_path, parts), runtime=runtime).layout
    if isinstance(layout, Unsupported):
        assert layout.reason.endswith(".")
        return
    assert layout.storage_bytes > 0
    assert layout.inference_heap_bytes >= layout.activation_bytes >= layout.activation_lower_bound_bytes > 0


@pytest.mark.parametrize("runtime", ["executorch-xnnpack", "onnxruntime", "pytorch"])
def test_what_is_mixed_lies_between_its_parts(tmp_path: Path, runtime: str) -> None:
    graph = net()
    mixed = written(tmp_path, "default: int8\nmodules: {head: float32}")
    sizes = []
    for dtype in ("int8", mixed, "float32"):
        layout = estimate(graph, dtype=dtype, runtime=runtime).layout
        assert isinstance(layout, MemoryLayout)
        sizes.append(layout.storage_bytes)
    assert sizes == sorted(sizes)


def test_a_glob_that_matches_nothing_names_what_is_near(tmp_path: Path) -> None:
    option = DTYPES.get(written(tmp_path, "modules: {'fetures.*': int8}"))
    with pytest.raises(UsageError, match=r"no module of the model matches 'fetures\.\*'") as caught:
        option.assign(net())
    assert "features" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("modules: [1, 2]", "modules: "),
        ("default: int8", "'modules' is a required property"),
        ("modules: {a: flot32}", "Unknown dtype 'flot32'"),
        ("modules: {a: other.yaml}", "is a mixed option itself"),
        ("modules: {a: int8}\nmore: 1", "more"),
        ("modules: {a: [", "is not YAML at line"),
        ("!!python/object/apply:os.system ['true']", "is not YAML"),
        ("", "the document"),
    ],
)
def test_a_bad_file_is_answered_with_the_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        DTYPES.get(written(tmp_path, text))
    assert "mixed.yaml: " in caught.value.message
    assert said in caught.value.message
    assert caught.value.hint


def test_a_file_that_is_not_there_is_answered() -> None:
    with pytest.raises(UsageError, match=r"nowhere\.yaml: cannot be read"):
        DTYPES.get("nowhere.yaml")
