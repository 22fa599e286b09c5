"""The traced activation peak against what PyTorch's own profiler counts in a real forward on this CPU, to the byte."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from edgebudget.dtypes import DTYPES, assign
from edgebudget.runtimes._pytorch_kernels import CpuKernels, Onednn
from edgebudget.runtimes._pytorch_scratch import scratch_bytes
from edgebudget.sources import load_model
from edgebudget.tracing import trace
from tests.traces import Forward, activation_curve, activation_peak, allocated_peak


@pytest.mark.parametrize("name", ["vit_b_16", "convnext_tiny", "swin_t"])
def test_real_models_to_the_byte(name: str) -> None:
    import torchvision

    model = torchvision.models.get_model(name, weights=None).eval()
    x = torch.randn(1, 3, 224, 224)
    real = allocated_peak(model, x)
    assert activation_peak(trace(model, (x,))) == real
    loaded = load_model(name)
    assert activation_peak(trace(loaded.module, loaded.args)) == real


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b0"])
def test_real_models_without_onednn_to_the_byte(name: str) -> None:
    import torchvision

    model = torchvision.models.get_model(name, weights=None).eval()
    x = torch.randn(1, 3, 224, 224)
    with torch.backends.mkldnn.flags(enabled=False):
        real = allocated_peak(model, x)
    graph = trace(model, (x,))
    held = assign(DTYPES.get("float32"), graph)
    scratch, unmodelled = scratch_bytes(graph, held, CpuKernels(Onednn.OFF))
    assert unmodelled == ()
    assert max(alive + extra for alive, extra in zip(activation_curve(graph), scratch, strict=True)) == real


def residual(self: Forward, x: torch.Tensor) -> torch.Tensor:
    return self.children_[0](x) + x


def branches(self: Forward, x: torch.Tensor) -> torch.Tensor:
    return self.children_[2](torch.cat([self.children_[0](x), self.children_[1](x)], 1))


def held(self: Forward, x: torch.Tensor) -> torch.Tensor:
    first = self.children_[0](x)
    second = self.children_[1](first)
    return second * first


def swapped(self: Forward, x: torch.Tensor) -> torch.Tensor:
    low, high = x.split(x.shape[1] // 2, 1)
    return torch.cat([high, self.children_[0](low)], 1)


def rebound(self: Forward, x: torch.Tensor) -> torch.Tensor:
    for child in self.children_:
        x = child(x)
    return x


def plain(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], nn.Module]:
    return lambda: Forward(lambda self, x: function(x))


WIDTH = 8
LEAVES = [
    lambda: nn.Linear(WIDTH, WIDTH),
    lambda: nn.Linear(WIDTH, WIDTH, bias=False),
    lambda: nn.Sequential(nn.Linear(WIDTH, 5 * WIDTH), nn.GELU(), nn.Linear(5 * WIDTH, WIDTH)),
    nn.ReLU,
    lambda: nn.ReLU(inplace=True),
    nn.Sigmoid,
    plain(lambda x: x.transpose(0, 1).reshape(x.shape)),
    plain(lambda x: x.contiguous().view(-1).view(x.shape)),
    plain(lambda x: x.unsqueeze(1).squeeze(1)),
    plain(lambda x: x.transpose(0, 1).contiguous().transpose(0, 1)),
    plain(lambda x: x.clone().mul_(x)),
    plain(lambda x: x.flip(0)),
    plain(lambda x: torch.stack(x.unbind(0))),
    plain(lambda x: x.expand(3, *x.shape).amax(0)),
    nn.Identity,
]
leaves = st.sampled_from(LEAVES).map(lambda make: make())
modules = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map(lambda parts: nn.Sequential(*parts)),
        st.lists(inner, min_size=1, max_size=4).map(lambda parts: Forward(rebound, *parts)),
        inner.map(lambda part: Forward(residual, part)),
        st.tuples(inner, inner).map(lambda parts: Forward(held, *parts)),
        st.tuples(inner, inner).map(lambda parts: Forward(branches, *parts, nn.Linear(2 * WIDTH, WIDTH))),
        leaves.map(lambda part: Forward(swapped, nn.Sequential(nn.Linear(4, WIDTH), part, nn.Linear(WIDTH, 4)))),
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(model=modules, batch=st.integers(1, 5))
def test_random_models_to_the_byte(model: nn.Module, batch: int) -> None:
    model.eval()
    x = torch.randn(batch, WIDTH)
    assert activation_peak(trace(model, (torch.empty(batch, WIDTH, device="meta"),))) == allocated_peak(model, x)
