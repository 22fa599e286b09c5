"""Blocks of torchvision, replayed: what is written down is what runs, and what has to run does."""

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import nn
from torch.nn.utils import parametrize

from edgebudget.graph import TracedGraph
from edgebudget.tracing import blocks, rules, stand_ins, trace
from tests.traces import names

IMAGE = torch.randn(1, 8, 6, 6)


def _parts(graph: TracedGraph) -> tuple[object, ...]:
    return graph.ops, graph.tensors, graph.storages, graph.outputs, graph.parameters, graph.buffers


@pytest.mark.parametrize(
    "name", ["resnet18", "densenet121", "shufflenet_v2_x0_5", "swin_t", "googlenet", "regnet_y_400mf", "maxvit_t"]
)
def test_a_model_replayed_is_the_model_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = torchvision.models.get_model(name, weights=None, **({"init_weights": False} if name == "googlenet" else {}))
    image = torch.randn(1, 3, 224, 224)
    played = []
    monkeypatch.setattr(blocks, "play", lambda *args: played.append(1) or _play(*args))
    learned = [_parts(trace(model, (image,))) for _ in range(3)]
    assert played
    monkeypatch.setattr(stand_ins, "is_block", lambda kind: False)
    run = _parts(trace(model, (image,)))
    assert learned == [run] * 3


_play = blocks.play


class _Written(nn.Module):
    """Stands where torchvision's blocks stand: `forward` is what a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1)
        self.act = nn.ReLU(inplace=True)


def _left_behind(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
    self.seen = self.conv(x)
    return self.act(self.conv(x))


def _real_tensors(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return self.conv(x) * torch.arange(6.0)


def _view_of_weights(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return nn.functional.conv2d(x, self.conv.weight[2:4].repeat(4, 1, 1, 1)).relu_()


FORWARDS: dict[str, Callable[[nn.Module, torch.Tensor], torch.Tensor]] = {
    "a residual": lambda self, x: self.act(self.conv(x)) + x,
    "in place on its input": lambda self, x: self.conv(self.act(x)),
    "in place on a view of its input": lambda self, x: self.conv(self.act(x[:, :8].view(1, 8, 6, 6))),
    "its input again": lambda self, x: x,
    "its input, after something else": lambda self, x: (self.conv(x), x)[1],
    "a view of its input": lambda self, x: x.flatten(2).unflatten(2, (6, 6)),
    "a view of what it made": lambda self, x: self.conv(x).transpose(2, 3),
    "a part of what it made": lambda self, x: torch.cat([self.conv(x)] * 2, 1)[:, 8:],
    "lists of tensors": lambda self, x: torch.cat([x, *self.conv(x).chunk(2, 1)], 1)[:, :8].clone(),
    "the same input twice": lambda self, x: torch.cat([x, x], 1).mean((2, 3), keepdim=True)[:, :8] * x,
    "something left behind": _left_behind,
    "real tensors": _real_tensors,
    "views of weights": _view_of_weights,
}


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("given", ["a whole tensor", "a view"])
def test_whatever_a_block_does_is_written_down(forward: str, given: str) -> None:
    def model(where: str) -> nn.Module:
        kind = type("Block", (_Written,), {"__module__": where, "forward": FORWARDS[forward]})

        class Model(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.blocks = nn.ModuleList([kind() for _ in range(4)])

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                x = x * 2 if given == "a whole tensor" else torch.cat([x, x], 1)[:, 8:]
                for block in self.blocks:
                    x = block(x)
                return x

        return Model()

    as_blocks, apart = model("torchvision.models.block"), model("elsewhere")
    for _ in range(3):
        assert _parts(trace(as_blocks, (IMAGE,))) == _parts(trace(apart, (IMAGE,)))


def test_what_two_inputs_share_is_not_taken_for_granted() -> None:
    def forward(self: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.conv(x), y], 1)  # type: ignore[operator]

    block = type("Block", (_Written,), {"__module__": "torchvision.models.block", "forward": forward})()
    for inputs in ((IMAGE, IMAGE), (IMAGE, IMAGE.clone()), (IMAGE, IMAGE)) * 2:
        graph = trace(block, inputs)
        assert graph.ops[-1].inputs[1] == graph.inputs[1]


def _bottleneck() -> nn.Module:
    return torchvision.models.resnet.Bottleneck(8, 2)


class _Doubled(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * 2


def _doubles(model: nn.Module) -> nn.Module:
    parametrize.register_parametrization(model.conv1, "weight", _Doubled())
    return model


def _hooked(model: nn.Module) -> nn.Module:
    model.register_forward_hook(lambda module, args, out: out * 2)
    return model


def _hooked_within(model: nn.Module) -> nn.Module:
    model.conv2.register_forward_hook(lambda module, args, out: out * 2)
    return model


def _patched(model: nn.Module) -> nn.Module:
    model.forward = lambda x: x * 2
    return model


def _other_child(model: nn.Module) -> nn.Module:
    model.conv2 = nn.Sequential(model.conv2, _Doubled())
    return model


@pytest.mark.parametrize("change", [_hooked, _hooked_within, _patched, _other_child, _doubles])
def test_a_block_that_was_changed_runs(change: Callable[[nn.Module], nn.Module]) -> None:
    plain = [names(trace(_bottleneck(), (IMAGE,))) for _ in range(3)][-1]
    assert "mul" not in plain
    assert "mul" in names(trace(change(_bottleneck()), (IMAGE,)))
    assert names(trace(_bottleneck(), (IMAGE,))) == plain


def test_a_class_whose_forward_was_replaced_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        trace(_bottleneck(), (IMAGE,))
    monkeypatch.setattr(torchvision.models.resnet.Bottleneck, "forward", lambda self, x: self.conv1(x) * 2)
    assert names(trace(_bottleneck(), (IMAGE,))) == ["conv2d", "mul"]


def test_one_module_in_two_places_of_a_block_is_one() -> None:
    def tied() -> nn.Module:
        block = torchvision.models.resnet.BasicBlock(8, 8)
        block.conv2 = block.conv1
        return block

    for make in (tied, lambda: torchvision.models.resnet.BasicBlock(8, 8), tied):
        graph = [trace(make(), (IMAGE,)) for _ in range(3)][-1]
        convolutions = [op for op in graph.ops if op.name == "conv2d"]
        assert len({op.inputs[1] for op in convolutions}) == (1 if make is tied else 2)


def test_weights_that_share_memory_in_a_block_are_counted_once() -> None:
    block = torchvision.models.resnet.BasicBlock(8, 8)
    for _ in range(3):
        apart = trace(block, (IMAGE,))
    block.conv2.weight = block.conv1.weight
    tied = trace(block, (IMAGE,))
    assert apart.parameter_numel - tied.parameter_numel == 8 * 8 * 9
    assert len(tied.ops) == len(apart.ops)


def test_a_block_in_training_is_left_in_training() -> None:
    block = _bottleneck().train()
    for _ in range(3):
        trace(block, (IMAGE,))
        assert all(module.training for module in block.modules())
    assert block(IMAGE.repeat(2, 1, 1, 1)).requires_grad


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_MOST_OPS", 50)
    block = _bottleneck()
    graphs = [trace(block, (torch.randn(1, 8, size, 6),)) for size in range(2, 20) for _ in range(2)]
    assert blocks._ROUTINES.ops <= 50
    assert len({tuple(names(graph)) for graph in graphs}) == 1


def test_makeups_beyond_what_is_remembered_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "_MAX_LEARNED", 0)
    monkeypatch.setattr(stand_ins, "_MAKEUPS", rules.Learned())
    narrow, wide = (trace(nn.Sequential(nn.Conv2d(8, out, 1), nn.ReLU()), (IMAGE,)) for out in (4, 12))
    assert [graph.tensors[graph.outputs[0]].shape[1] for graph in (narrow, wide)] == [4, 12]
    assert stand_ins._makeup(("one",)) == stand_ins._makeup(("another",)) == 0
