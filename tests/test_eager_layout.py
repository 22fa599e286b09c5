"""Inputs in every order of dimensions: how outputs lie in memory, and what kernels copy, against PyTorch on the CPU."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgebudget.tracing import trace
from tests.pytorch_allocator import WITHOUT_ONEDNN, predicted_for, real_peak_bytes
from tests.traces import Forward

Map = Callable[[Tensor], Tensor]
LAYOUTS: dict[str, Map] = {
    "row-major": lambda x: x,
    "channels last": lambda x: x.movedim(1, -1).contiguous().movedim(-1, 1),
    "last two swapped": lambda x: x.mT.contiguous().mT,
    "first two swapped": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "with gaps": lambda x: torch.stack([x, x], -1)[..., 0],
}
IMAGES: dict[str, nn.Module] = {
    "conv": nn.Conv2d(8, 4, 3),
    "conv, same": nn.Conv2d(8, 4, 3, padding="same"),
    "depthwise": nn.Conv2d(8, 8, 3, groups=8),
    "conv, weight channels last": nn.Conv2d(8, 4, 3).to(memory_format=torch.channels_last),
    "transposed conv": nn.ConvTranspose2d(8, 4, 3),
    "batch norm": nn.BatchNorm2d(8),
    "instance norm": nn.InstanceNorm2d(8),
    "group norm": nn.GroupNorm(2, 8),
    "pixel shuffle": nn.PixelShuffle(2),
    "pixel unshuffle": nn.PixelUnshuffle(2),
    "channel shuffle": nn.ChannelShuffle(2),
    "roll": Forward(lambda self, x: x.roll(1, 2)),
    "roll twice": Forward(lambda self, x: x.roll((1, 2), (2, 3))),
    "roll all the way": Forward(lambda self, x: x.roll(4, 2)),
    "max pool": nn.MaxPool2d(2),
    "average pool": nn.AvgPool2d(2),
    "adaptive pool": nn.AdaptiveAvgPool2d(2),
    "bilinear": nn.UpsamplingBilinear2d(scale_factor=2),
    "softmax": nn.Softmax(1),
    "relu": nn.ReLU(),
    "batch norm by the batch": nn.BatchNorm2d(8, track_running_stats=False),
    "instance norm with weights": nn.InstanceNorm2d(8, affine=True),
    "patches": nn.Unfold(2),
    "linear": nn.Linear(6, 4),
    "distances": Forward(lambda self, x: torch.cdist(x, x)),
    "lower triangle": Forward(lambda self, x: x.softmax(3).contiguous().tril()),
    "some channels": Forward(lambda self, x: x.index_select(1, torch.arange(2, device=x.device))),
    "one of two": Forward(lambda self, x: torch.where(x > 0.5, x, 0.0)),
    "product": Forward(lambda self, x: x @ x.mT),
    "addition": Forward(lambda self, x: x + x),
    **{mode: Forward(lambda self, x, mode=mode: functional.pad(x, (1, 1, 1, 1), mode))
       for mode in ("constant", "reflect", "replicate", "circular")},
}  # fmt: skip
LINES: dict[str, nn.Module] = {
    "conv": nn.Conv1d(8, 4, 3),
    "conv, same": nn.Conv1d(8, 4, 3, padding="same"),
    "transposed conv": nn.ConvTranspose1d(8, 4, 3),
    "batch norm": nn.BatchNorm1d(8),
    "max pool": nn.MaxPool1d(2),
    "average pool": nn.AvgPool1d(2),
    "adaptive average pool": nn.AdaptiveAvgPool1d(2),
    "adaptive max pool": nn.AdaptiveMaxPool1d(2),
    "reflect": nn.ReflectionPad1d(1),
    "replicate": nn.ReplicationPad1d(1),
    "linear upsampling": nn.Upsample(scale_factor=2, mode="linear"),
}
VOLUMES: dict[str, nn.Module] = {
    "conv": nn.Conv3d(8, 4, 3),
    "transposed conv": nn.ConvTranspose3d(8, 4, 3),
    "batch norm": nn.BatchNorm3d(8),
    "replicate": nn.ReplicationPad3d(1),
    "max pool": nn.MaxPool3d(2),
    "average pool": nn.AvgPool3d(2),
    "depthwise": nn.Conv3d(8, 8, 3, groups=8),
}


def same(module: nn.Module, x: Tensor) -> None:
    module.eval()
    graph = trace(module, (torch.empty_strided(x.shape, x.stride(), device="meta"),))
    with torch.inference_mode():
        out = module(x)
    given = graph.tensors[graph.outputs[0]]
    assert (given.shape, given.stride) == (out.shape, out.stride())
    if module is VOLUMES["transposed conv"]:
        return  # its scratch is not modelled, and says so
    estimate, layout = predicted_for(graph, "float32", WITHOUT_ONEDNN)
    with torch.backends.mkldnn.flags(enabled=False):
        assert (estimate, layout.unmodelled_ops) == (real_peak_bytes(module, [x]), ())


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("module", IMAGES.values(), ids=IMAGES)
def test_images(module: nn.Module, layout: Map) -> None:
    same(module, layout(torch.rand(2, 8, 4, 6)))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("module", LINES.values(), ids=LINES)
def test_lines(module: nn.Module, layout: Map) -> None:
    same(module, layout(torch.rand(2, 8, 6)))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("module", VOLUMES.values(), ids=VOLUMES)
def test_volumes(module: nn.Module, layout: Map) -> None:
    same(module, layout(torch.rand(2, 8, 4, 4, 6)))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("kind", ["conv", "conv, weight channels last", "transposed conv"])
def test_one_image_without_a_batch(kind: str, layout: Map) -> None:
    same(IMAGES[kind], layout(torch.rand(1, 8, 4, 6))[0])
