"""Scratch of single operators and small modules, to the byte against the profiler's allocations on this machine."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from edgebudget.estimation import estimate
from edgebudget.runtimes.interface import MemoryLayout
from edgebudget.target import Target
from edgebudget.tracing import trace
from tests.pytorch_allocator import TARGETS, WITHOUT_ONEDNN, predicted_for, real_peak_bytes

CAPABILITY = torch.backends.cpu.get_cpu_capability().lower()
on_x86 = pytest.mark.skipif((CAPABILITY, True) not in TARGETS, reason="oneDNN is modelled for AVX2 and AVX-512")

X86 = Target(isa="x86-64")


class Calls(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        return self.function(*args)


def assert_exact(module: nn.Module, *shapes: tuple[int, ...], dtype: str = "float32", onednn: bool = True) -> None:
    element = getattr(torch, dtype)
    module = module.eval().to(element)
    args = [torch.rand(shape, dtype=element) for shape in shapes]
    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = onednn
    try:
        real = real_peak_bytes(module, args)
    finally:
        torch.backends.mkldnn.enabled = before
    graph = trace(module.float(), tuple(arg.float() for arg in args))
    target = TARGETS[(CAPABILITY, True)] if onednn else WITHOUT_ONEDNN
    estimate, layout = predicted_for(graph, dtype, target)
    assert (estimate, layout.unmodelled_ops) == (real, ())


CONVOLUTIONS = {
    "first layer": (nn.Conv2d(3, 24, 3, stride=2, padding=1), (1, 3, 100, 100)),
    "wide": (nn.Conv2d(64, 96, 3, padding=1, bias=False), (1, 64, 28, 28)),
    "channels and bias are padded": (nn.Conv2d(20, 33, 3), (1, 20, 40, 40)),
    "depthwise": (nn.Conv2d(40, 40, 5, padding=2, groups=40), (1, 40, 28, 28)),
    "grouped by 4": (nn.Conv2d(32, 32, 3, padding=1, groups=8), (1, 32, 28, 28)),
    "grouped by 16": (nn.Conv2d(64, 64, 3, padding=1, groups=4), (1, 64, 28, 28)),
    "pointwise": (nn.Conv2d(64, 128, 1), (1, 64, 28, 28)),
    "pointwise with strides": (nn.Conv2d(64, 128, 1, stride=2, bias=False), (1, 64, 56, 56)),
    "batch": (nn.Conv2d(16, 32, 3), (2, 16, 20, 20)),
    "dilated": (nn.Conv2d(32, 32, 3, padding=2, dilation=2), (1, 32, 28, 28)),
    "same padding": (nn.Conv2d(32, 32, 3, padding="same"), (1, 32, 28, 28)),
    "too small for oneDNN": (nn.Conv2d(8, 8, 3), (1, 8, 12, 12)),
    "one dimension": (nn.Conv1d(16, 32, 3, padding=1), (1, 16, 400)),
    "one dimension, large": (nn.Conv1d(64, 64, 3, padding=1), (1, 64, 1000)),
    "three dimensions": (nn.Conv3d(3, 16, 3, padding=1), (1, 3, 8, 32, 32)),
}


@on_x86
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution(name: str) -> None:
    module, shape = CONVOLUTIONS[name]
    assert_exact(module, shape)


@pytest.mark.parametrize("name", [name for name in CONVOLUTIONS if "batch" not in name])
def test_convolution_without_onednn(name: str) -> None:
    module, shape = CONVOLUTIONS[name]
    assert_exact(module, shape, onednn=False)


@on_x86
@pytest.mark.parametrize("name", ["first layer", "wide", "channels and bias are padded", "depthwise", "pointwise"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_convolution_in_two_bytes(name: str, dtype: str) -> None:
    module, shape = CONVOLUTIONS[name]
    assert_exact(module, shape, dtype=dtype)


def channels_last(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def transposed(x: torch.Tensor) -> torch.Tensor:
    return x.transpose(1, 2)


def attends_within(qkv: torch.Tensor) -> torch.Tensor:
    """Attend over heads that lie side by side in one tensor: batch, length, 3, heads, size."""
    query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(*qkv.shape[:2], -1)


MODULES = {
    "batch norm": (nn.BatchNorm2d(16), (1, 16, 20, 20)),
    "instance norm": (nn.InstanceNorm2d(16), (1, 16, 20, 20)),
    "layer norm": (nn.LayerNorm(64), (2, 30, 64)),
    "layer norm of a transposed input": (nn.Sequential(Calls(transposed), nn.LayerNorm(30)), (2, 30, 64)),
    "group norm": (nn.GroupNorm(4, 16), (2, 16, 20, 20)),
    "group norm, channels last": (nn.Sequential(Calls(channels_last), nn.GroupNorm(4, 16)), (2, 16, 20, 20)),
    "rms norm": (nn.RMSNorm(64), (2, 30, 64)),
    "rms norm without weight": (nn.RMSNorm(64, elementwise_affine=False), (2, 30, 64)),
    "max pool": (nn.MaxPool2d(2), (1, 16, 20, 20)),
    "max pool of a transposed input": (Calls(lambda x: F.max_pool2d(x.transpose(2, 3), 2)), (1, 16, 20, 22)),
    "adaptive average": (nn.AdaptiveAvgPool2d(1), (1, 16, 20, 20)),
    "mean": (Calls(lambda x: x.mean((2, 3))), (1, 16, 20, 20)),
    "softmax of a transposed input": (Calls(lambda x: x.transpose(1, 2).softmax(-1)), (2, 30, 64)),
    "times a number": (Calls(lambda x: x * 2.5), (2, 30, 64)),
    "linear": (nn.Linear(64, 32), (2, 30, 64)),
    "linear of a transposed input": (nn.Sequential(Calls(transposed), nn.Linear(30, 32)), (2, 30, 64)),
    "matmul": (Calls(lambda x: x @ x.transpose(-1, -2)), (2, 3, 20, 16)),
    "matmul of heads": (Calls(lambda x: x.transpose(1, 2) @ x.permute(0, 2, 3, 1)), (2, 30, 4, 16)),
    "einsum": (Calls(lambda x: torch.einsum("bhid,bhjd->bhij", x, x)), (2, 3, 20, 16)),
    "roll": (Calls(lambda x: x.roll((1, 2), (2, 3))), (1, 16, 20, 20)),
    "upsample, small": (nn.Upsample(scale_factor=2, mode="bilinear"), (1, 16, 20, 20)),
    "upsample, large": (nn.Upsample(scale_factor=2, mode="bilinear"), (1, 16, 50, 60)),
    "upsample nearest, large": (nn.Upsample(scale_factor=2), (1, 16, 50, 60)),
    "upsample bicubic": (nn.Upsample(scale_factor=2, mode="bicubic"), (1, 16, 20, 20)),
    "transposed convolution, depthwise": (nn.ConvTranspose2d(64, 64, 2, stride=2, groups=64), (1, 64, 28, 28)),
    "transposed convolution, small": (nn.ConvTranspose2d(8, 16, 2, stride=2), (1, 8, 20, 20)),
    "max pool of volumes": (nn.MaxPool3d(2), (1, 8, 8, 20, 20)),
    "adaptive average of volumes": (nn.AdaptiveAvgPool3d(1), (1, 8, 8, 20, 20)),
    "adaptive average of a signal": (nn.AdaptiveAvgPool1d(5), (1, 8, 100)),
    "upsample volumes": (nn.Upsample(scale_factor=2, mode="trilinear"), (1, 8, 8, 20, 20)),
    "upsample a signal": (nn.Upsample(scale_factor=2), (1, 8, 100)),
    "downsample, antialiased": (
        Calls(lambda x: F.interpolate(x, size=(10, 12), mode="bicubic", antialias=True)),
        (1, 16, 20, 20),
    ),
    "log of a sum": (Calls(lambda x: x.logsumexp(-1)), (2, 30, 64)),
    "a step of a GRU": (nn.GRUCell(64, 32), (3, 64)),
    "unfold": (nn.Unfold(3, padding=1), (1, 16, 20, 20)),
}


@on_x86
@pytest.mark.parametrize("name", MODULES)
def test_module(name: str) -> None:
    module, shape = MODULES[name]
    assert_exact(module, shape)


@on_x86
def test_transposed_convolution_is_close() -> None:
    module, x = nn.ConvTranspose2d(64, 16, 2, stride=2).eval(), torch.rand(1, 64, 56, 56)
    estimate, _ = predicted_for(trace(module, (x,)), "float32", TARGETS[(CAPABILITY, True)])
    assert estimate == pytest.approx(real_peak_bytes(module, [x]), rel=0.01)


ATTENTION = {
    "flash": (lambda q: F.scaled_dot_product_attention(q, q, q), (2, 4, 50, 32)),
    "flash over a long sequence": (lambda q: F.scaled_dot_product_attention(q, q, q), (1, 2, 800, 16)),
    "flash over heads of one tensor": (attends_within, (2, 50, 3, 4, 32)),
    "a mask of 3 dimensions": (
        lambda q: F.scaled_dot_product_attention(q, q, q, attn_mask=q.new_zeros(4, 50, 50)),
        (2, 4, 50, 32),
    ),
    "other size of values": (lambda q: F.scaled_dot_product_attention(q, q, q[..., :8].contiguous()), (2, 4, 50, 32)),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention(name: str) -> None:
    function, shape = ATTENTION[name]
    assert_exact(Calls(function), shape, onednn=False)


@on_x86
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("length", [10, 100])
def test_multihead_attention(need_weights: bool, batch_first: bool, length: int) -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(64, 4, batch_first=batch_first)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.attention(x, x, x, need_weights=need_weights)[0]
            return out

    assert_exact(Attends(), (2, length, 64))


@on_x86
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("width", [32, 1024])
@pytest.mark.parametrize("heads", [4, 1])  # an odd number of heads is not run fused
def test_transformer_encoder_layer(norm_first: bool, width: int, heads: int) -> None:
    layer = nn.TransformerEncoderLayer(64, heads, width, batch_first=True, norm_first=norm_first, activation="gelu")
    assert_exact(layer, (2, 30, 64))


@on_x86
@pytest.mark.skipif(CAPABILITY != "avx512", reason="the LSTM primitive's layouts are modelled for AVX-512")
@pytest.mark.parametrize("shape", [(4, 50, 64), (50, 1, 64), (1, 30, 64)])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_lstm(shape: tuple[int, int, int], layers: int, bidirectional: bool, batch_first: bool) -> None:
    module = nn.LSTM(64, 128, layers, bidirectional=bidirectional, batch_first=batch_first)
    assert_exact(nn.Sequential(module), shape)


@pytest.mark.parametrize("kind", [nn.GRU, nn.RNN])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_recurrence(kind: type[nn.RNNBase], layers: int, bidirectional: bool, batch_first: bool) -> None:
    module = kind(64, 128, layers, bidirectional=bidirectional, batch_first=batch_first)
    assert_exact(nn.Sequential(module), (4, 50, 64), onednn=False)


def test_what_nobody_looked_at_is_named() -> None:
    graph = trace(Calls(torch.linalg.qr), (torch.rand(4, 4),))
    _, layout = predicted_for(graph, "float32", WITHOUT_ONEDNN)
    assert "linalg_qr" in layout.unmodelled_ops


def test_arm_compute_library_is_named_where_it_computes() -> None:
    from edgebudget.target import Target

    graph = trace(nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU()), (torch.rand(1, 3, 100, 100),))
    estimate, layout = predicted_for(graph, "float32", Target("armv8-a"))
    assert layout.unmodelled_ops == ("conv2d",)
    assert estimate >= 8 * 49 * 49 * 4


class _TwoBlocks(nn.Module):
    """Makes a tensor, drops it, makes another: their sizes in MiB."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__()
        self.counts = first << 18, second << 18

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = x
        for count in self.counts:
            total = total + x.repeat(count).sum()
        return total


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (16, 40, 16),  # the first comes from the heap in the second run and stays at its top; the second is mapped
        (16, 8, 0),  # the second lies where the first was
        (40, 48, 0),  # both are mapped, and give their pages back
    ],
)
def test_what_malloc_keeps_of_freed_tensors(first: int, second: int, kept: int) -> None:
    """Real processes took 55.9, 15.9 and 47.8 MiB over three runs: VmHWM over what was resident before."""
    layout = estimate(
        trace(_TwoBlocks(first, second), (torch.zeros(1),)), dtype="float32", runtime="pytorch", target=X86
    ).layout
    assert isinstance(layout, MemoryLayout)
    assert layout.kept_running[0] / 2**20 == pytest.approx(kept, abs=0.5)
    assert layout.inference_resident_bytes == layout.inference_heap_bytes + layout.kept_running[0]
