"""Recurrent and text models for what torchvision and timm lack; each factory returns the module and its inputs."""

import torch
from torch import Tensor, nn

Model = tuple[nn.Module, tuple[Tensor, ...]]


class LastStep(nn.Module):
    """A recurrent layer over a sequence, and a classifier on its last output."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(layer.hidden_size * (2 if layer.bidirectional else 1), 10)

    def forward(self, steps: Tensor) -> Tensor:
        """`steps` is batch x time x features."""
        outputs, _ = self.layer(steps)
        scores: Tensor = self.head(outputs[:, -1])
        return scores


class TextEncoder(nn.Module):
    """Token embeddings, two transformer layers, and a classifier on their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(1000, 128)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(128, 4, 256, batch_first=True), 2)
        self.head = nn.Linear(128, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        """`tokens` is batch x length."""
        scores: Tensor = self.head(self.encoder(self.embedding(tokens)).mean(1))
        return scores


def lstm() -> Model:
    return LastStep(nn.LSTM(40, 128, 2, batch_first=True)), (torch.zeros(1, 20, 40),)


def bilstm() -> Model:
    return LastStep(nn.LSTM(40, 128, 1, batch_first=True, bidirectional=True)), (torch.zeros(1, 16, 40),)


def gru() -> Model:
    return LastStep(nn.GRU(40, 96, 1, batch_first=True)), (torch.zeros(1, 16, 40),)


def text_encoder() -> Model:
    return TextEncoder(), (torch.zeros(1, 32, dtype=torch.int64),)
