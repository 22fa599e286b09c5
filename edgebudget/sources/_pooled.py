"""A model with a pooling put before one of its linear layers, for the time of a trace."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class _PooledFirst(nn.Module):
    """`linear` over channels only: its flattened input is seen as an image again and pooled to one pixel."""

    def __init__(self, linear: nn.Linear, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, linear.out_features, bias=linear.bias is not None, device="meta")
        self.channels = channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        image = x.reshape(x.shape[0], self.channels, -1, 1)
        pooled: torch.Tensor = self.linear(nn.functional.adaptive_avg_pool2d(image, 1).flatten(1))
        return pooled


@contextmanager
def pooled_before(model: nn.Module, path: str, channels: int) -> Iterator[None]:
    """Within: the linear layer at `path` of `model` reads `channels` pooled values. Afterwards it is as it was."""
    parent_path, _, name = path.rpartition(".")
    parent = model.get_submodule(parent_path)
    linear = parent._modules[name]
    if not isinstance(linear, nn.Linear):
        raise TypeError(f"{path} is a {type(linear).__name__}")
    parent._modules[name] = _PooledFirst(linear, channels)
    try:
        yield
    finally:
        parent._modules[name] = linear
