"""What dtype options store, tensor by tensor, against arithmetic by hand."""

import pytest
import torch
from torch import nn

from edgebudget.dtypes import DTYPES, Held, assign
from edgebudget.estimation import estimate
from edgebudget.graph import FLOATING, ITEMSIZE, Role, TracedGraph
from edgebudget.tracing import trace
from tests.traces import Forward

IMAGE = torch.empty(1, 3, 8, 8, device="meta")
X = torch.empty(2, 8, device="meta")


def held_of(graph: TracedGraph, dtype: str) -> dict[str, Held]:
    """Return how each weight of `graph` is held, by name."""
    assignment = assign(DTYPES.get(dtype), graph)
    return {s.name: assignment[s.id] for s in graph.storages if s.role in (Role.PARAMETER, Role.BUFFER)}


def activations(graph: TracedGraph, dtype: str) -> list[tuple[str, int]]:
    """Return how inputs and what the forward makes are held, in order."""
    assignment = assign(DTYPES.get(dtype), graph)
    return [assignment[s.id][:2] for s in graph.storages if s.role in (Role.INPUT, Role.ACTIVATION)]


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("float16", 2), ("bfloat16", 2)])
def test_floating_options_change_floating_tensors_only(dtype: str, size: int) -> None:
    model = Forward(lambda self, tokens: self.children_[0](tokens) * self.mask, nn.Embedding(10, 4))
    model.register_buffer("mask", torch.ones(4, dtype=torch.bool))
    model.register_buffer("wide", torch.ones(4, dtype=torch.float64))
    model.register_buffer("phase", torch.ones(4, dtype=torch.complex64))
    model.register_buffer("index", torch.ones(4, dtype=torch.int64))
    graph = trace(model, (torch.empty(3, dtype=torch.int64, device="meta"),))
    assert held_of(graph, dtype) == {
        "mask": Held("bool", 4),
        "wide": Held(dtype, 4 * size),
        "phase": Held("complex64", 32),
        "index": Held("int64", 32),
        "children_.0.weight": Held(dtype, 40 * size),
    }
    assert activations(graph, dtype) == [("int64", 24), (dtype, 12 * size), (dtype, 12 * size)]


def test_int8_convolution() -> None:
    graph = trace(nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 1)), (IMAGE,))
    assert held_of(graph, "int8") == {
        # a byte an element; 6 channels, each a float32 scale and an int8 zero point
        "0.weight": Held("int8", 6 * 3 * 9, 6 * 5),
        "0.bias": Held("int32", 6 * 4),
        "2.weight": Held("int8", 4 * 6, 4 * 5),
        "2.bias": Held("int32", 4 * 4),
    }
    # input and output stay float32; between covered operators a byte an element
    assert activations(graph, "int8") == [
        ("float32", 3 * 64 * 4),
        ("int8", 6 * 64),
        ("int8", 6 * 64),
        ("float32", 4 * 64 * 4),
    ]


@pytest.mark.parametrize(("groups", "channels"), [(1, 6), (3, 6)])
def test_int8_transposed_convolution_counts_output_channels(groups: int, channels: int) -> None:
    graph = trace(nn.ConvTranspose2d(3, 6, 2, groups=groups), (IMAGE,))
    assert held_of(graph, "int8")["weight"] == Held("int8", 3 * 6 // groups * 4, channels * 5)


def test_int8_leaves_other_operators_in_float32() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 8))
    graph = trace(model, (X,))
    held = held_of(graph, "int8")
    assert held["1.weight"] == Held("float32", 32)
    assert activations(graph, "int8") == [
        ("float32", 64),
        ("int8", 16),  # linear
        ("float32", 64),  # layer norm
        ("float32", 64),  # gelu
        ("float32", 64),  # the output
    ]
    covered = assign(DTYPES.get("int8"), graph).covered
    assert [graph.ops[i].module for i in sorted(covered)] == ["0", "3"]


def test_int8_folds_a_batch_norm_behind_a_convolution_only() -> None:
    behind = trace(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1)), (IMAGE,))
    assert [kind for kind, _ in activations(behind, "int8")] == ["float32", "int8", "int8", "int8", "float32"]
    alone = trace(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1)), (IMAGE,))
    assert [kind for kind, _ in activations(alone, "int8")] == ["float32", "float32", "float32"]
    assert held_of(behind, "int8")["1.running_mean"] == Held("float32", 16)
    assert held_of(behind, "int8")["1.num_batches_tracked"] == Held("int64", 8)


def test_int8_weight_shared_with_an_uncovered_operator_is_held_twice() -> None:
    embedding, head = nn.Embedding(10, 8), nn.Linear(8, 10, bias=False)
    head.weight = embedding.weight
    graph = trace(nn.Sequential(embedding, head), (torch.empty(3, dtype=torch.int64, device="meta"),))
    # 80 elements as float32 for the embedding, and as int8 with 10 channels for the head
    assert held_of(graph, "int8")["0.weight"] == Held("float32", 320 + 80, 50)


def test_int8_weight_shared_by_two_covered_operators_is_held_once() -> None:
    layer = nn.Linear(8, 8)
    graph = trace(nn.Sequential(layer, nn.ReLU(), layer), (X,))
    assert held_of(graph, "int8") == {"0.weight": Held("int8", 64, 40), "0.bias": Held("int32", 32)}


def test_int8_starts_from_float32_whatever_the_model_is_stored_in() -> None:
    half = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8)).half()
    held = held_of(trace(half, (X.half(),)), "int8")
    assert held["0.weight"] == Held("int8", 64, 40)
    assert held["1.weight"] == Held("float32", 32)


def test_totals_of_an_estimate_are_the_sums_of_what_is_held() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 5))
    graph = trace(model, (IMAGE,))
    for dtype in DTYPES.names():
        held = held_of(graph, dtype)
        made = estimate(graph, dtype=dtype, runtime="pytorch")
        assert made.parameter_bytes == sum(held[name].total_nbytes for name in graph.parameters)
        assert made.buffer_bytes == sum(held[name].total_nbytes for name in graph.buffers)
        assert made.parameter_numel == sum(p.numel() for p in model.parameters())
        assert made.buffer_numel == sum(b.numel() for b in model.buffers())


def test_every_type_of_torch_that_has_a_size_is_known() -> None:
    for name, size in ITEMSIZE.items():
        assert getattr(torch, name).itemsize == size
        assert getattr(torch, name).is_floating_point == (name in FLOATING)
