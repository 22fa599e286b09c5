"""TensorFlow Lite Micro's arena on models small enough to plan by hand, and on the published one."""

import pytest
import torch
import torchvision
from torch import nn

from edgebudget.dtypes import DTYPES
from edgebudget.planning import verify_plan
from edgebudget.runtimes import RUNTIMES
from edgebudget.runtimes.interface import MemoryLayout, Unsupported
from edgebudget.target import Target
from edgebudget.tracing import trace

FLASH = Target("armv7e-m", 32, ("cortex-m7",), "flash")
RAM = Target("armv7e-m", 32, ("cortex-m7",), "ram")


def lay_out(model: nn.Module, shape: tuple[int, ...], dtype: str = "int8", target: Target = FLASH) -> MemoryLayout:
    graph = trace(model.eval(), (torch.empty(shape, device="meta"),))
    layout = RUNTIMES.get("tflite-micro").lay_out(graph, DTYPES.get(dtype), target)
    assert isinstance(layout, MemoryLayout)
    assert layout.arena is not None
    verify_plan(layout.arena, 16)
    return layout


def test_the_published_arena_of_int8_mobilenet_v2() -> None:
    # 112 * 112 * 96 + 56 * 56 * 96: the expansion of the second block and what its depthwise convolution makes
    layout = lay_out(torchvision.models.mobilenet_v2(), (1, 3, 224, 224))
    assert layout.activation_bytes == layout.activation_lower_bound_bytes == 1_505_280
    assert layout.peak_op.module == "features.2.conv.1.0"
    assert layout.unmodelled_ops == ()


@pytest.mark.parametrize(("dtype", "nbytes"), [("int8", 1), ("float32", 4)])
def test_batch_norm_and_relu_take_no_buffer(dtype: str, nbytes: int) -> None:
    block = nn.Sequential(nn.Conv2d(4, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
    # the input, 4 * 8 * 8, and the output, 16 * 8 * 8
    assert lay_out(block, (1, 4, 8, 8), dtype).activation_bytes == (256 + 1024) * nbytes


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(self.first(x))


def test_a_residual_keeps_its_input() -> None:
    # while the second convolution runs: the input, what the first made and what the second makes, 256 each
    assert lay_out(Residual(), (1, 4, 8, 8)).activation_bytes == 3 * 256


def test_a_batch_norm_on_a_value_with_two_readers_is_an_operator() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return self.norm(y) + y

    # while the norm runs: y and norm(y); while the sum runs: y, norm(y) and the sum
    assert lay_out(Shared(), (1, 4, 8, 8)).activation_bytes == 3 * 256


def test_sizes_are_rounded_to_sixteen_bytes() -> None:
    # 10 and 3 values take a line of 16 bytes each
    assert lay_out(nn.Linear(10, 3), (1, 10)).activation_bytes == 32


def test_weights_stay_in_flash_or_take_ram() -> None:
    in_flash, in_ram = (lay_out(nn.Linear(100, 10), (1, 100), "float32", target) for target in (FLASH, RAM))
    weights_bytes = (100 * 10 + 10) * 4
    assert in_ram.inference_heap_bytes - in_flash.inference_heap_bytes == weights_bytes
    assert in_flash.inference_heap_bytes == in_flash.activation_bytes + in_flash.workspace_bytes
    assert in_flash.storage_bytes == in_ram.storage_bytes == weights_bytes


def test_an_operator_without_a_kernel_is_named() -> None:
    assert lay_out(nn.Sequential(nn.Linear(8, 8), nn.GELU()), (1, 8)).unmodelled_ops == ("gelu",)


def test_half_precision_has_no_kernels() -> None:
    graph = trace(nn.Linear(4, 4), (torch.empty(1, 4, device="meta"),))
    layout = RUNTIMES.get("tflite-micro").lay_out(graph, DTYPES.get("float16"), FLASH)
    assert isinstance(layout, Unsupported)
    assert "float16" in layout.reason
