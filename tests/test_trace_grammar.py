"""Random models from a grammar of what people write, each traced and run for real: the same peak to the byte.

The tensors and the kernels' own scratch together are what the CPU allocator hands out. Without oneDNN, whose choice of
kernels depends on the processor: test_pytorch_scratch.py has those, one by one. `EDGEBUDGET_EXAMPLES` asks for more.
"""

import os
from collections.abc import Callable

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgebudget.tracing import trace
from tests.pytorch_allocator import WITHOUT_ONEDNN, predicted_for, real_peak_bytes
from tests.traces import Forward

CHANNELS, SIDE = 4, 6
EXAMPLES = int(os.environ.get("EDGEBUDGET_EXAMPLES", "100"))
Map = Callable[[Tensor], Tensor]


def plain(function: Map) -> Callable[[], nn.Module]:
    return lambda: Forward(lambda self, x: function(x))


def convolution(groups: int = 1, bias: bool = True) -> Callable[[], nn.Module]:
    return lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=groups, bias=bias)


def recurrent(make: Callable[..., nn.Module], **options: object) -> Callable[[], nn.Module]:
    """Rows of the image as a sequence; all outputs are used, the state is dropped."""

    def forward(self: Forward, x: Tensor) -> Tensor:
        sequence = x.flatten(0, 1)
        out, _ = self.children_[0](sequence)
        return self.children_[1](out).view(x.shape)

    def build() -> nn.Module:
        wide = 2 if options.get("bidirectional") else 1
        return Forward(forward, make(SIDE, SIDE, batch_first=True, **options), nn.Linear(wide * SIDE, SIDE))

    return build


def view_in_place(x: Tensor) -> Tensor:
    y = x.clone(memory_format=torch.contiguous_format)
    y[:, 0].mul_(2).add_(1)
    y.view(-1)[::3].zero_()
    return y


def through_a_slice(x: Tensor) -> Tensor:
    y = torch.empty_like(x)
    y[:, 1:] = x[:, :-1]
    y[:, :1].copy_(x[:, -1:])
    return y


def chunks(x: Tensor) -> Tensor:
    first, second = x.chunk(2, 1)
    return torch.cat([second.sigmoid(), first], 1)


def splits(x: Tensor) -> Tensor:
    low, middle, high = x.split([1, 2, 1], 1)
    return torch.cat([high, middle.relu(), low], 1)


def deleted(x: Tensor) -> Tensor:
    y = x * 2
    z = y + 1
    del y
    return z * z


def several(x: Tensor) -> Tensor:
    values, where = x.max(3, keepdim=True)
    return x - values + where.to(x.dtype)


def held_by_a_view(x: Tensor) -> Tensor:
    row = (x * 3)[:, :, :1]  # keeps the whole product
    return x.exp() + row


def rows(*make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Return what runs these on the rows of the image, [batch, columns as channels, rows], which lie transposed."""

    def forward(self: Forward, x: Tensor) -> Tensor:
        return self.children_[0](x.flatten(0, 1).transpose(1, 2)).transpose(1, 2).reshape(x.shape)

    return lambda: Forward(forward, nn.Sequential(*(one() for one in make)))


LEAVES: list[Callable[[], nn.Module]] = [
    convolution(), convolution(bias=False), convolution(groups=CHANNELS),
    nn.ReLU, lambda: nn.ReLU(inplace=True), nn.GELU, nn.Hardswish, lambda: nn.SiLU(inplace=True), nn.Identity,
    lambda: nn.BatchNorm2d(CHANNELS), lambda: nn.LayerNorm(SIDE), nn.Dropout,
    lambda: nn.Linear(SIDE, SIDE), lambda: nn.MaxPool2d(3, 1, 1), lambda: nn.AvgPool2d(3, 1, 1),
    lambda: nn.Sequential(nn.AvgPool2d(2), nn.Upsample(scale_factor=2)),
    recurrent(nn.LSTM), recurrent(nn.GRU), recurrent(nn.RNN),
    recurrent(nn.LSTM, bidirectional=True), recurrent(nn.GRU, num_layers=2),
    plain(view_in_place), plain(through_a_slice), plain(chunks), plain(splits), plain(deleted), plain(several),
    plain(held_by_a_view),
    plain(lambda x: x.transpose(2, 3)), plain(lambda x: x.transpose(2, 3).contiguous()),
    plain(lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)),
    plain(lambda x: x.clone().mul_(x)), plain(lambda x: x.flip(3)), plain(lambda x: torch.stack(x.unbind(1), 1)),
    plain(lambda x: x.softmax(3)), plain(lambda x: x.expand(2, *x.shape).sum(0)),
    lambda: nn.ConvTranspose2d(CHANNELS, CHANNELS, 3, padding=1), lambda: nn.GroupNorm(2, CHANNELS),
    lambda: nn.InstanceNorm2d(CHANNELS, affine=True), lambda: nn.ChannelShuffle(2),
    lambda: nn.Sequential(nn.ReflectionPad2d(1), nn.AvgPool2d(3, 1)),
    lambda: nn.Sequential(nn.ReplicationPad2d(1), nn.MaxPool2d(3, 1)),
    lambda: nn.Sequential(nn.PixelShuffle(2), nn.PixelUnshuffle(2)),
    rows(lambda: nn.Conv1d(SIDE, SIDE, 3, padding=1)), rows(lambda: nn.ConvTranspose1d(SIDE, SIDE, 3, padding=1)),
    rows(lambda: nn.BatchNorm1d(SIDE), lambda: nn.MaxPool1d(3, 1, 1)), rows(lambda: nn.Conv1d(SIDE, SIDE, 1), nn.GELU),
    plain(lambda x: x.roll(1, 3)), plain(lambda x: torch.where(x > 0, x, x.neg())),
]  # fmt: skip


def residual(self: Forward, x: Tensor) -> Tensor:
    return self.children_[0](x) + x


def in_place_residual(self: Forward, x: Tensor) -> Tensor:
    y = self.children_[0](x.clone())
    return y.clone().add_(x)


def branches(self: Forward, x: Tensor) -> Tensor:
    return self.children_[2](torch.cat([child(x) for child in self.children_[:2]], 1))


def gated(self: Forward, x: Tensor) -> Tensor:
    return self.children_[0](x) * self.children_[1](x).sigmoid()


def tied(self: Forward, x: Tensor) -> Tensor:
    return self.children_[0](self.children_[0](x))


def two_outputs(self: Forward, x: Tensor) -> Tensor:
    first, second = (lambda y: (y, y.mean((2, 3), keepdim=True)))(self.children_[0](x))
    return first * second


def kept_in_a_list(self: Forward, x: Tensor) -> Tensor:
    kept = [x]
    for child in self.children_:
        kept.append(child(kept[-1]))
    return torch.stack(kept).sum(0)


def wired(function: Callable[[Forward, Tensor], Tensor], *more: Callable[[], nn.Module]) -> Callable[..., nn.Module]:
    return lambda parts: Forward(function, *parts, *(make() for make in more))


leaves = st.integers(0, len(LEAVES) - 1).map(lambda number: LEAVES[number]())
modules = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map(lambda parts: nn.Sequential(*parts)),
        st.tuples(inner).map(wired(residual)),
        st.tuples(inner).map(wired(in_place_residual)),
        st.tuples(inner).map(wired(tied)),
        st.tuples(inner).map(wired(two_outputs)),
        st.tuples(inner, inner).map(wired(gated)),
        st.tuples(inner, inner).map(wired(branches, lambda: nn.Conv2d(2 * CHANNELS, CHANNELS, 1))),
        st.lists(inner, min_size=1, max_size=3).map(wired(kept_in_a_list)),
    ),
    max_leaves=10,
)


@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(model=modules, batch=st.integers(1, 3), ends=st.sampled_from(["tensor", "pair", "dict"]))
def test_the_peak_is_the_allocators(model: nn.Module, batch: int, ends: str) -> None:
    def forward(self: Forward, x: Tensor) -> object:
        y = self.children_[0](x)
        return {"tensor": y, "pair": (y, y.sum(1)), "dict": {"y": y, "row": y[:, :1]}}[ends]

    whole = Forward(forward, model).eval()
    shape = (batch, CHANNELS, SIDE, SIDE)
    graph = trace(whole, (torch.empty(shape, device="meta"),))
    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = False
    try:
        real = real_peak_bytes(whole, [torch.rand(shape)])
    finally:
        torch.backends.mkldnn.enabled = before
    estimate, layout = predicted_for(graph, "float32", WITHOUT_ONEDNN)
    assert (estimate, layout.unmodelled_ops) == (real, ())
