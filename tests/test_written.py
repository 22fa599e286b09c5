"""What is written down of operators, and what is remembered of groups of views, against running them."""

import math
from collections.abc import Callable
from random import Random
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import torchvision
from executorch_cases import Forward
from torch import randn

from edgebudget.graph import Op, TracedGraph
from edgebudget.sources import load_model
from edgebudget.tracing import core_aten, groups, trace
from edgebudget.tracing.core_aten import decompose
from edgebudget.tracing.export_modes import Engine
from edgebudget.tracing.replay import Running
from edgebudget.tracing.templates import Template
from edgebudget.tracing.written import written

FEW = ("convnext_tiny", "densenet121", "shufflenet_v2_x1_0", "swin_t", "vit_b_32")
ZOO = torchvision.models.list_models(torchvision.models)


def rules_against_runs(name: str) -> int:
    """Hold what is written down of every operator of a model against running it; return how many there were."""
    asked: dict[str, tuple[object, ...]] = {}
    found: dict[str, Template] = {}

    def watched(*question: object) -> Template | None:
        answer = written(*question)  # type: ignore[arg-type]
        if answer is not None:
            asked[repr(question)], found[repr(question)] = question, answer
        return answer

    model = load_model(name)
    graph = trace(model.module, model.args, model.kwargs, name=name)
    with patch.object(core_aten, "written", watched), patch.object(core_aten, "_TEMPLATES", {}):
        decompose(graph)
        decompose(graph, "float16")
    engine = Engine()
    with engine.entered():
        for key, (target, args, kwargs, metas, shapes) in asked.items():
            op = Op(0, target, "", args, kwargs, (), tuple(range(len(shapes))))  # type: ignore[arg-type]
            assert repr(Running(engine).run(op, name, args, kwargs, metas)) == repr(found[key])  # type: ignore[arg-type]
    return len(asked)


@pytest.mark.parametrize("name", FEW)
def test_what_is_written_down_of_a_models_operators_is_what_they_do(name: str) -> None:
    assert rules_against_runs(name) > 20


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ZOO if name not in FEW])
def test_what_is_written_down_of_the_zoos_operators_is_what_they_do(name: str) -> None:
    assert rules_against_runs(name)


def parts(graph: TracedGraph) -> tuple[object, ...]:
    return graph.ops, graph.tensors, graph.storages, graph.inputs, graph.outputs


def without_rules(graph: TracedGraph) -> tuple[object, ...]:
    with (
        patch.object(core_aten, "written", lambda *question: None),
        patch.object(core_aten, "_TEMPLATES", {}),
        patch.object(core_aten, "_FORMS", {}),
    ):
        return parts(decompose(graph))


def strided(x: torch.Tensor, chance: Random) -> torch.Tensor:
    """Return `x`, or a view of it in another order in memory, or with gaps."""
    if chance.random() < 0.7:
        x = x.permute(chance.sample(range(x.dim()), x.dim()))
    at = chance.randrange(x.dim())
    return x.narrow(at, 0, chance.randint(1, x.shape[at])) if chance.random() < 0.5 else x


def seen_as(x: torch.Tensor, chance: Random) -> list[int]:
    """Return a shape with as many elements as `x`: some dimensions joined, some split."""
    numel, shape = x.numel(), []
    while numel > 1:
        shape.append(chance.choice([n for n in range(2, numel + 1) if numel % n == 0]))
        numel //= shape[-1]
    for _ in range(chance.randint(0, 2)):
        shape.insert(chance.randint(0, len(shape)), 1)
    return shape


def along(x: torch.Tensor, chance: Random) -> int:
    return chance.randrange(-x.dim(), x.dim())


def product(x: torch.Tensor, chance: Random) -> torch.Tensor:
    """Return `x` times a tensor whose batch is that of `x`, in an order of its own."""
    other = x.new_ones((*x.shape[:-2], 5, x.shape[-1])).transpose(-1, -2)
    return x @ chance.choice([other, other.contiguous()])


OPERATORS: dict[str, Callable[[torch.Tensor, Random], object]] = {
    "alias": lambda x, chance: x[:],
    "cat": lambda x, chance: torch.cat([x, x, x + 1], along(x, chance)),
    "chunk": lambda x, chance: x.chunk(chance.randint(1, 4), along(x, chance)),
    "contiguous": lambda x, chance: x.contiguous(),
    "flatten": lambda x, chance: x.flatten(along(x, chance)),
    "layer_norm": lambda x, chance: F.layer_norm(x, x.shape[-1:], x.new_ones(x.shape[-1]), x.new_ones(x.shape[-1])),
    "linear": lambda x, chance: F.linear(x, x.new_ones(7, x.shape[-1])),
    "linear with a bias": lambda x, chance: F.linear(x, x.new_ones(7, x.shape[-1]), x.new_ones(7)),
    "matmul": product,
    "permute": lambda x, chance: x.permute(chance.sample(range(x.dim()), x.dim())),
    "pool": lambda x, chance: F.adaptive_avg_pool2d(x, chance.choice([(1, 1), (1, 2), (2, 2)])),
    "reshape": lambda x, chance: x.reshape(seen_as(x, chance)),
    "reshape by the rest": lambda x, chance: x.reshape([*seen_as(x, chance)[:-1], -1]),
    "select": lambda x, chance: x.select(along(x, chance), chance.randint(-1, 0)),
    "slice": lambda x, chance: x[:, chance.randint(-2, 1) :: chance.randint(1, 2)],
    "softmax": lambda x, chance: x.softmax(along(x, chance)),
    "transpose": lambda x, chance: x.transpose(*chance.sample(range(-x.dim(), 0), 2)),
    "unsqueeze": lambda x, chance: x.unsqueeze(chance.randrange(-x.dim() - 1, x.dim() + 1)),
    "view": lambda x, chance: x.view(seen_as(x, chance)),
}


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_decomposition_is_the_same_without_rules(operator: str) -> None:
    held = 0
    for seed in range(25):
        chance = Random(seed)
        # Dimensions of one element are where strides are arbitrary, and rules are wrong first.
        shape = [chance.choice([1, 1, 2, 3, 4, 6]) for _ in range(4 if operator == "pool" else chance.randint(2, 5))]
        module = Forward(lambda m, x, seed=seed: OPERATORS[operator](strided(x + 1, Random(seed)), Random(seed + 1)))
        try:
            graph = trace(module, (randn(shape),))
        except Exception:
            continue  # what PyTorch refuses: a view of what lies in another order, a slice of nothing
        assert parts(decompose(graph)) == without_rules(graph), (operator, seed)
        held += 1
    assert held > 5


CONVOLUTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "plain": lambda x: F.conv2d(x, x.new_ones(8, 4, 3, 3)),
    "with everything": lambda x: F.conv2d(x, x.new_ones(8, 2, 3, 3), x.new_ones(8), (2, 1), (1, 0), (1, 2), 2),
    "a text for padding": lambda x: F.conv2d(x, x.new_ones(8, 4, 3, 3), padding="same"),
    "channels last": lambda x: F.conv2d(x.to(memory_format=torch.channels_last), x.new_ones(8, 4, 3, 3)),
    "one image in channels last": lambda x: F.conv2d(
        x[:1].to(memory_format=torch.channels_last), x.new_ones(8, 4, 3, 3)
    ),
    "one in channels last, by groups": lambda x: F.conv2d(
        x[:1].permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2), x.new_ones(4, 1, 3, 3), None, 2, 1, 1, 4
    ),
    "one image, some of its channels": lambda x: F.conv2d(x[:1, 1:3], x.new_ones(8, 2, 1, 1)),
    "some channels of each": lambda x: F.conv2d(x[:, 1:3], x.new_ones(8, 2, 1, 1)),
    "one channel": lambda x: F.conv2d(x[:, :1], x.new_ones(8, 1, 3, 3)),
    "one pixel": lambda x: F.conv2d(x[:, :, :1, :1].to(memory_format=torch.channels_last), x.new_ones(8, 4, 1, 1)),
    "to one channel": lambda x: F.conv2d(x.to(memory_format=torch.channels_last), x.new_ones(1, 4, 3, 3)),
    "a volume in channels last": lambda x: F.conv3d(
        x[:, :, None].expand(2, 4, 3, 9, 9).contiguous(memory_format=torch.channels_last_3d), x.new_ones(8, 4, 1, 3, 3)
    ),
    "no batch": lambda x: F.conv2d(x[0], x.new_ones(8, 4, 3, 3)),
    "one dimension": lambda x: F.conv1d(x[0], x.new_ones(8, 9, 3)),
    "three dimensions": lambda x: F.conv3d(x[:, None], x.new_ones(8, 1, 3, 3, 3), padding=1),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_convolution_is_the_same_without_rules(kind: str) -> None:
    graph = trace(Forward(lambda m, x: CONVOLUTIONS[kind](x)), (randn(2, 4, 9, 9),))
    assert parts(decompose(graph)) == without_rules(graph)


def test_padding_that_reflects_is_the_same_in_half_precision_whatever_came_before() -> None:
    graph = trace(Forward(lambda m, x: F.pad(x, (1, 1, 1, 1), mode="reflect")), (randn(1, 2, 5, 5),))
    with patch.object(core_aten, "_TEMPLATES", {}):
        first = parts(decompose(graph, "float16"))
    with patch.object(core_aten, "_TEMPLATES", {}):
        decompose(graph)
        assert parts(decompose(graph, "float16")) == first


# ---- groups of views


def masked(*writes: tuple[int, int, float]) -> TracedGraph:
    """Return the trace of a model that writes numbers to parts of a tensor, then reads it."""

    def forward(m: Forward, x: torch.Tensor) -> torch.Tensor:
        mask = x.new_zeros(6, 6)
        for begin, end, value in writes:
            mask[begin:end] = value
            mask[:, begin:end] += x[0, 0]
        return mask.view(-1).reshape(6, 6) * x + mask

    return trace(Forward(forward), (randn(6, 6),))


def afresh(graph: TracedGraph, dtype: str = "float32") -> tuple[object, ...]:
    with patch.object(groups, "_START", groups._Known(Template(0, (), (), (), ()))):
        return parts(decompose(graph, dtype))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_is_remembered_of_a_group_is_what_running_it_gives(dtype: str) -> None:
    first, other = masked((0, 2, 1.0), (3, 6, 2.0)), masked((0, 2, 1.0), (2, 6, 2.0), (1, 3, 5.0))
    expected, parted = afresh(first, dtype), afresh(other, dtype)
    with patch.object(groups, "_START", groups._Known(Template(0, (), (), (), ()))):
        assert parts(decompose(first, dtype)) == expected
        with patch.object(groups.Running, "run", side_effect=AssertionError("it ran again")):
            assert parts(decompose(first, dtype)) == expected
        assert parts(decompose(other, dtype)) == parted  # remembered to begin with, then run
        assert parts(decompose(first, dtype)) == expected


def test_a_group_in_half_precision_is_known_from_the_same_in_float32() -> None:
    graph = masked((0, 2, 1.0), (3, 6, 2.0))
    expected = afresh(graph, "float16")
    start = groups._Known(Template(0, (), (), (), ()))
    start.single = start
    with patch.object(groups, "_START", start):
        decompose(graph)
        with patch.object(groups.Running, "run", side_effect=AssertionError("it ran again")):
            assert parts(decompose(graph, "float16")) == expected
        other = masked((0, 2, 1.0), (3, 5, 2.0))
        assert parts(decompose(other, "float16")) == afresh(other, "float16")  # derived to begin with, then run


def test_what_is_written_to_a_product_is_written_to_what_the_product_is_a_view_of() -> None:
    def forward(m: Forward, x: torch.Tensor) -> torch.Tensor:
        y = x @ x
        y[:, 1:] += 1
        return y

    graph = decompose(trace(Forward(forward), (randn(2, 3, 4, 4),)))
    names = [op.name for op in graph.ops]
    after = names[names.index("add") :]
    assert (names.count("bmm"), after[:4]) == (1, ["add", "view", "slice_scatter", "view"])


def test_one_number_written_through_a_view_and_another_are_not_the_same() -> None:
    graphs = [masked((0, 2, value)) for value in (1.0, 2.0, True, math.inf)]
    assert [parts(decompose(graph)) for graph in graphs] == [afresh(graph) for graph in graphs]
    assert len({repr(decompose(graph).ops) for graph in graphs}) == len(graphs)
