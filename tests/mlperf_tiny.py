"""The four reference models of MLPerf Tiny, rebuilt: `edgebudget check tests/mlperf_tiny.py:ds_cnn` takes them.

Shapes and layers as in github.com/mlcommons/tiny at 1afd2c98, benchmark/training/*/keras_model.py and vww_model.py:
where Keras pads `same`, the convolution pads, as it does in the converted models.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn


def image(pixels: int) -> tuple[Tensor]:
    """Return an image in three channels, square and black."""
    return (torch.zeros(1, 3, pixels, pixels),)


def _normalized(conv: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU())


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return _normalized(nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups))


def _separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(_conv(inputs, inputs, 3, stride, groups=inputs), _conv(inputs, outputs, 1))


def ds_cnn() -> tuple[nn.Module, tuple[Tensor]]:
    """Keyword spotting: 12 words from 49 x 10 cepstral coefficients."""
    first = _normalized(nn.Conv2d(1, 64, (10, 4), 2, padding=(5, 1)))
    body = [_separable(64, 64) for _ in range(4)]
    head = [nn.AvgPool2d((25, 5)), nn.Flatten(), nn.Linear(64, 12), nn.Softmax(dim=1)]
    return nn.Sequential(first, *body, *head), (torch.zeros(1, 1, 49, 10),)


def mobilenet_v1() -> tuple[nn.Module, tuple[Tensor]]:
    """Visual wake words: is there a person in 96 x 96 pixels, with a quarter of MobileNetV1's channels."""
    widths = [(8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2)]
    widths += [(128, 128, 1)] * 5 + [(128, 256, 2), (256, 256, 1)]
    layers = [_conv(3, 8, 3, 2), *(_separable(*width) for width in widths)]
    head = [nn.AvgPool2d(3), nn.Flatten(), nn.Linear(256, 2), nn.Softmax(dim=1)]
    return nn.Sequential(*layers, *head), image(96)


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _conv(inputs, outputs, 3, stride)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs))
        self.skip = nn.Identity() if stride == 1 else nn.Conv2d(inputs, outputs, 1, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.skip(x) + self.second(self.first(x)))


def resnet_8() -> tuple[nn.Module, tuple[Tensor]]:
    """Image classification: ten classes of 32 x 32 pixels, three stacks of 16, 32 and 64 channels."""
    layers = [_conv(3, 16, 3), _Block(16, 16, 1), _Block(16, 32, 2), _Block(32, 64, 2)]
    head = [nn.AvgPool2d(8), nn.Flatten(), nn.Linear(64, 10), nn.Softmax(dim=1)]
    return nn.Sequential(*layers, *head), image(32)


def autoencoder() -> tuple[nn.Module, tuple[Tensor]]:
    """Anomaly detection: 640 values of a spectrogram through eight layers of 128 and a bottleneck of 8."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise([640, 128, 128, 128, 128, 8, 128, 128, 128, 128]):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(128, 640)), (torch.zeros(1, 640),)
