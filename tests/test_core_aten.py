"""What the decomposition makes of small models: core ATen operators in order, functional, with def-use lifetimes."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from executorch_cases import CASES, Forward
from torch import nn, randn
from traces import names

from edgebudget.graph import ITEMSIZE, Role, TracedGraph
from edgebudget.tracing import trace
from edgebudget.tracing.core_aten import decompose


def core(module: nn.Module, *inputs: torch.Tensor, dtype: str = "float32") -> TracedGraph:
    return decompose(trace(module, inputs), dtype)


def test_an_in_place_relu_becomes_a_new_tensor() -> None:
    graph = core(Forward(lambda m, x: F.relu_(m.linear(x)), linear=nn.Linear(8, 4)), randn(2, 8))
    assert names(graph) == ["permute", "addmm", "relu"]
    assert graph.ops[2].inputs == graph.ops[1].outputs
    assert graph.outputs == graph.ops[2].outputs


def test_a_residual_lives_until_it_is_added() -> None:
    block = Forward(
        lambda m, x: (lambda y: y + m.second(m.first(y).relu()))(m.stem(x)),
        stem=nn.Conv2d(3, 8, 3), first=nn.Conv2d(8, 8, 3, padding=1), second=nn.Conv2d(8, 8, 3, padding=1),
    )  # fmt: skip
    graph = core(block, randn(1, 3, 8, 8))
    assert names(graph) == ["convolution", "convolution", "relu", "convolution", "add"]
    stem = graph.storage_of(graph.ops[0].outputs[0])
    assert (stem.born, stem.dies) == (0, 4)


def test_batch_norm_gives_its_result_and_two_empty_tensors() -> None:
    graph = core(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), randn(1, 3, 8, 8))
    assert names(graph) == ["convolution", "_native_batch_norm_legit_no_training"]
    assert [graph.tensors[t].shape for t in graph.ops[1].outputs] == [(1, 8, 6, 6), (0,), (0,)]


def test_a_view_of_a_view_is_two_views() -> None:
    graph = core(Forward(lambda m, x: (x + 1).view(4, 4).view(2, 8) * 2), randn(16))
    assert names(graph) == ["add", "view", "view", "mul"]


def test_reshaping_what_is_not_contiguous_copies() -> None:
    graph = core(Forward(lambda m, x: (x + 1).transpose(0, 1).reshape(-1)), randn(4, 4))
    assert names(graph) == ["add", "permute", "clone", "view"]


def test_attention_is_two_products_around_a_safe_softmax() -> None:
    graph = core(Forward(lambda m, q: F.scaled_dot_product_attention(q, q, q)), randn(1, 4, 10, 16))
    found = names(graph)
    assert found.count("bmm") == 2
    assert found.index("bmm") < found.index("_softmax") < found.index("where") < len(found) - found[::-1].index("bmm")


def test_a_write_through_a_view_becomes_a_scatter_that_later_views_see() -> None:
    def write(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
        y = x + 1
        y[:, :2].mul_(2)
        return y * 2

    graph = core(Forward(write), randn(3, 4))
    assert names(graph) == ["add", "slice", "mul", "slice_scatter", "mul"]
    assert graph.ops[-1].inputs == graph.ops[-2].outputs


def test_a_view_made_before_a_write_sees_it() -> None:
    graph = core(CASES["inplace_stale"]().module, *CASES["inplace_stale"]().inputs)
    assert names(graph) == ["convolution", "relu", "view", "add"]


def test_what_nobody_reads_is_gone() -> None:
    graph = core(Forward(lambda m, x: (x.exp().sum(), x + 1)[1]), randn(4))
    assert names(graph) == ["add"]


def test_a_written_buffer_is_written_back_at_the_end() -> None:
    case = CASES["counter"]()
    graph = core(case.module, *case.inputs)
    assert names(graph) == ["add", "add", "copy_"]
    assert graph.storage_of(graph.ops[-1].inputs[0]).role is Role.BUFFER


def test_tied_weights_keep_one_storage() -> None:
    linear = nn.Linear(8, 8, bias=False)
    graph = core(nn.Sequential(linear, linear), randn(1, 8))
    read = {graph.tensors[t].storage for op in graph.ops for t in op.inputs if graph.storage_of(t).role.is_weight}
    assert len(read) == 1


def test_half_precision_takes_the_place_of_single_throughout() -> None:
    graph = core(nn.Sequential(nn.Linear(8, 4), nn.Softmax(-1)), randn(2, 8), dtype="float16")
    assert {s.dtype for s in graph.storages} == {"float16"}
    assert sum(s.nbytes for s in graph.of_role(Role.PARAMETER)) == 2 * (8 * 4 + 4)


@pytest.mark.parametrize("name", ["mha", "lstmcell", "chunk", "inplace_view", "bn3d", "tformer"])
def test_every_tensor_is_made_once_before_it_is_read_and_owns_its_storage(name: str) -> None:
    case = CASES[name]()
    graph = core(case.module, *case.inputs)
    made = {t for t in range(len(graph.tensors)) if graph.storage_of(t).role is not Role.ACTIVATION}
    for op in graph.ops:
        assert set(op.inputs) <= made
        assert made.isdisjoint(op.outputs)
        made.update(op.outputs)
    assert set(graph.outputs) <= made
    for spec in graph.tensors:
        storage = graph.storages[spec.storage]
        if storage.role is Role.ACTIVATION:
            assert storage.nbytes == spec.numel * ITEMSIZE[spec.dtype]
            readers = [op.index for op in graph.consumers.get(spec.id, ())]
            end = len(graph.ops) if spec.id in graph.outputs else max(readers, default=storage.born)
            assert storage.dies == end


def test_the_same_trace_decomposes_to_the_same_graph_again() -> None:
    case = CASES["mha"]()
    graph = trace(case.module, case.inputs)
    first, second = decompose(graph), decompose(graph)
    assert (first.ops, first.tensors, first.storages) == (second.ops, second.tensors, second.storages)
