"""Stand-ins: what a forward sees of modules that are replayed, and that none is left behind."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from edgebudget.errors import TraceError
from edgebudget.tracing import trace
from edgebudget.tracing.standing import STANDING
from tests.traces import Forward, names

X = torch.randn(2, 8)
IMAGE = torch.randn(1, 3, 8, 8)


class OneByOne(nn.Sequential):
    """Does what `nn.Sequential` does, by a forward of its own: its modules are called from outside."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for module in self:
            x = module(x)
        return x


class Activated(nn.Sequential):
    """A chain by inheritance, with a number of its own, as torchvision's `Conv2dNormActivation` is."""

    def __init__(self, channels: int) -> None:
        super().__init__(nn.Conv2d(channels, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.out_channels = 4


def _flattened(kind: type[nn.Sequential]) -> nn.Module:
    return kind(nn.Flatten(), nn.Linear(192, 5), nn.Dropout(), kind(nn.Unflatten(1, (5, 1)), nn.ReLU(inplace=True)))


CHAINS: dict[str, Callable[[type[nn.Sequential]], nn.Module]] = {
    "in place": lambda kind: kind(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 1)),
    "in place on what was given": lambda kind: kind(
        nn.ReLU(inplace=True), kind(nn.ReLU(inplace=True), nn.Conv2d(3, 4, 1), nn.ReLU()), nn.ReLU()
    ),
    "held by whom it was given": lambda kind: kind(
        nn.ReLU(), kind(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.ReLU()), nn.ReLU()
    ),
    "views by modules that run": _flattened,
    "nothing at all": lambda kind: kind(nn.Identity(), kind(), kind(nn.Dropout()), nn.Conv2d(3, 4, 1)),
    "ends in a view": lambda kind: kind(kind(kind(nn.Conv2d(3, 4, 1)), nn.Flatten()), nn.ReLU(inplace=True)),
    "by inheritance": lambda kind: kind(Activated(3), kind(Activated(4)), nn.MaxPool2d(2)),
    "the same module twice": lambda kind: kind(*[nn.ReLU()] * 2, *[nn.Conv2d(3, 3, 1)] * 2),
}


@pytest.mark.parametrize("chain", CHAINS)
def test_a_chain_is_what_its_modules_are_one_by_one(chain: str) -> None:
    for _ in range(3):  # learned, then replayed
        traced = trace(CHAINS[chain](nn.Sequential), (IMAGE,))
        apart = trace(CHAINS[chain](OneByOne), (IMAGE,))
    assert (traced.ops, traced.tensors, traced.storages) == (apart.ops, apart.tensors, apart.storages)
    assert traced.outputs == apart.outputs


def _reads_weight(self: Forward, x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.linear(x, self.children_[0].weight, self.children_[0].bias)


def _asks_for_the_device(self: Forward, x: torch.Tensor) -> torch.Tensor:
    assert next(self.children_[0].parameters()).device == x.device
    return self.children_[0](x)


def _sets_an_attribute(self: Forward, x: torch.Tensor) -> torch.Tensor:
    self.children_[0].seen = True
    return self.children_[0](x)


def _replaces_the_weight(self: Forward, x: torch.Tensor) -> torch.Tensor:
    self.children_[0].weight = nn.Parameter(self.children_[0].weight * 2)
    return self.children_[0](x)


def _copies(self: Forward, x: torch.Tensor) -> torch.Tensor:
    return copy.copy(self.children_[0])(x)


def _hooks(self: Forward, x: torch.Tensor) -> torch.Tensor:
    handle = self.children_[0].register_forward_hook(lambda module, args, out: out + 1)
    out = self.children_[0](x)
    handle.remove()
    return out


@pytest.mark.parametrize(
    ("forward", "operators"),
    [
        (_reads_weight, ["linear"]),
        (_asks_for_the_device, ["linear"]),
        (_sets_an_attribute, ["linear"]),
        (_replaces_the_weight, ["mul", "linear"]),
        (_copies, ["linear"]),
        (_hooks, ["linear", "add"]),
    ],
)
def test_a_leaf_that_is_looked_at_is_a_module_like_any_other(
    forward: Callable[..., object], operators: list[str]
) -> None:
    leaf = nn.Linear(8, 8)
    weight, attributes = leaf.weight, vars(leaf).copy()
    for _ in range(3):
        graph = trace(Forward(forward, leaf), (X,))
    assert [name for name in names(graph) if name != "alias"] == operators
    assert graph.parameter_numel == 72
    assert not [s for s in graph.weights if s.role == "constant"]
    assert (type(leaf), leaf.weight is weight, vars(leaf)) == (nn.Linear, True, attributes)


def test_a_forward_sees_modules_of_their_own_classes() -> None:
    seen: list[object] = []

    def look(self: Forward, x: torch.Tensor) -> torch.Tensor:
        for child in self.children_:
            seen.append((child.__class__, isinstance(child, nn.Linear), type(child).__name__, child.training))
            x = child(x)
        return x

    trace(Forward(look, nn.Linear(8, 8), nn.Sequential(nn.ReLU())).train(), (X,))
    assert seen[-2:] == [(nn.Linear, True, "Linear", False), (nn.Sequential, False, "Sequential", False)]


def test_a_forward_can_make_a_module_of_a_class_it_sees() -> None:
    model = Forward(lambda self, x: type(self.children_[0])(negative_slope=0.5)(x), nn.LeakyReLU())
    assert names(trace(model, (X,))) == ["leaky_relu"]


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, Interrupted])
def test_no_stand_in_is_left_behind(failure: type[BaseException]) -> None:
    def fail(self: Forward, x: torch.Tensor) -> torch.Tensor:
        raise failure

    model = nn.Sequential(nn.Linear(8, 8), nn.Sequential(nn.ReLU(), Forward(fail, nn.Linear(8, 8)))).train()
    with pytest.raises(TraceError if failure is ValueError else failure):
        trace(model, (X,))
    assert not STANDING
    assert {type(module) for module in model.modules()} == {nn.Linear, nn.Sequential, nn.ReLU, Forward, nn.ModuleList}
    assert all(module.training for module in model.modules())


def test_a_chain_that_is_changed_by_the_forward_runs_as_changed() -> None:
    def longer(self: Forward, x: torch.Tensor) -> torch.Tensor:
        self.children_[0].append(nn.Sigmoid())
        return self.children_[0](x)

    chain = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    for _ in range(2):
        graph = trace(Forward(longer, chain), (X,))
    assert names(graph) == ["linear", "relu", "sigmoid"]
    assert len(chain) == 2
