"""Small models of kinds that torchvision and timm lack: recurrent, text, keyword spotting, segmentation, enhancement.

Each factory returns the module and example inputs. What a step of a recurrent network costs a runtime depends on how it
is written, so both ways are here: cells in a Python loop, and the sequence modules of torch.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

Model = tuple[nn.Module, tuple[Tensor, ...]]


class Cells(nn.Module):
    """A recurrent cell in a loop over the steps, as exporters unroll it, and a classifier on the last state."""

    def __init__(self, cell: nn.LSTMCell | nn.GRUCell, classes: int) -> None:
        super().__init__()
        self.cell = cell
        self.head = nn.Linear(cell.hidden_size, classes)

    def forward(self, steps: Tensor) -> Tensor:
        """`steps` is batch x time x features."""
        state = None
        for step in steps.unbind(1):
            state = self.cell(step, state)
        last: Tensor = self.head(state[0] if isinstance(state, tuple) else state)
        return last


class Sequence(nn.Module):
    """A recurrent layer over a whole sequence, and a classifier on its last output."""

    def __init__(self, layer: nn.LSTM | nn.GRU, classes: int) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(layer.hidden_size * (2 if layer.bidirectional else 1), classes)

    def forward(self, steps: Tensor) -> Tensor:
        """`steps` is batch x time x features."""
        outputs, _ = self.layer(steps)
        scores: Tensor = self.head(outputs[:, -1])
        return scores


def lstm_cells() -> Model:
    return Cells(nn.LSTMCell(64, 256), 12), (torch.zeros(1, 16, 64),)


def lstm_cells_long() -> Model:
    return Cells(nn.LSTMCell(40, 128), 12), (torch.zeros(1, 50, 40),)


def gru_cells() -> Model:
    return Cells(nn.GRUCell(64, 256), 12), (torch.zeros(1, 16, 64),)


def lstm_sequence() -> Model:
    return Sequence(nn.LSTM(64, 256, batch_first=True), 12), (torch.zeros(1, 16, 64),)


def gru_sequence() -> Model:
    return Sequence(nn.GRU(40, 128, num_layers=2, batch_first=True), 12), (torch.zeros(1, 25, 40),)


def keyword_cnn() -> Model:
    """The depthwise separable network of MLPerf Tiny's keyword spotting: 49 frames of 10 coefficients."""

    def block(channels: int) -> list[nn.Module]:
        depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        return [depthwise, nn.BatchNorm2d(channels), nn.ReLU(), pointwise, nn.BatchNorm2d(channels), nn.ReLU()]

    stem = [nn.Conv2d(1, 64, (10, 4), stride=2, padding=(5, 1), bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    blocks = [layer for _ in range(4) for layer in block(64)]
    tail = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 12)]
    return nn.Sequential(*stem, *blocks, *tail), (torch.zeros(1, 1, 49, 10),)


def anomaly_autoencoder() -> Model:
    """The fully connected autoencoder of MLPerf Tiny's anomaly detection."""
    widths = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(128, 640)), (torch.zeros(1, 640),)


class TextClassifier(nn.Module):
    """Embeddings, a transformer encoder, a mean over the tokens, a classifier."""

    def __init__(self, vocabulary: int, width: int, heads: int, layers: int, tokens: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(torch.zeros(1, tokens, width))
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        """`tokens` is batch x tokens, indices into the vocabulary."""
        scores: Tensor = self.head(self.encoder(self.words(tokens) + self.places).mean(1))
        return scores


def text_classifier() -> Model:
    return TextClassifier(8000, 128, 4, 2, 64), (torch.zeros(1, 64, dtype=torch.int64),)


class Unet(nn.Module):
    """Three levels down and up, joined by concatenation: the skips are alive through everything below them."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.down = nn.ModuleList([_double(3, width), _double(width, 2 * width), _double(2 * width, 4 * width)])
        self.bottom = _double(4 * width, 8 * width)
        self.grow = nn.ModuleList([nn.ConvTranspose2d(2 * c, c, 2, stride=2) for c in (4 * width, 2 * width, width)])
        self.up = nn.ModuleList([_double(2 * c, c) for c in (4 * width, 2 * width, width)])
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """`image` is batch x 3 x height x width, both multiples of 8."""
        skips = []
        for level in self.down:
            image = level(image)
            skips.append(image)
            image = nn.functional.max_pool2d(image, 2)
        image = self.bottom(image)
        for grow, level in zip(self.grow, self.up, strict=True):
            image = level(torch.cat([grow(image), skips.pop()], 1))
        mask: Tensor = self.head(image)
        return mask


def _double(before: int, after: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [nn.Conv2d(channels, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


def unet_small() -> Model:
    return Unet(16, 2), (torch.zeros(1, 3, 128, 128),)


def super_resolution() -> Model:
    """ESPCN: all convolutions at the low resolution, then a pixel shuffle by 3."""
    layers = [
        nn.Conv2d(1, 64, 5, padding=2), nn.Tanh(), nn.Conv2d(64, 32, 3, padding=1), nn.Tanh(),
        nn.Conv2d(32, 9, 3, padding=1), nn.PixelShuffle(3),
    ]  # fmt: skip
    return nn.Sequential(*layers), (torch.zeros(1, 1, 160, 160),)
