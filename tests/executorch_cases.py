"""Small forwards that between them meet every pass on the way to an ExecuTorch program.

`PLANNED` holds what executorch 1.5.1 plans for each with its portable kernels:
`to_edge(torch.export.export(module, inputs)).to_executorch()`, `non_const_buffer_sizes[1]`; None where it refuses.
`test_executorch_real.py` asks it again.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn, randn


class Forward(nn.Module):
    """A module whose forward is `function(self, *inputs)`."""

    def __init__(self, function: Callable[..., object], **children: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, child in children.items():
            self.add_module(name, child)

    def forward(self, *inputs: Tensor) -> object:
        return self.function(self, *inputs)


class Counter(nn.Module):
    """Counts its calls in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)
        return x + self.calls


class Case(NamedTuple):
    """A module and its inputs."""

    module: nn.Module
    inputs: tuple[Tensor, ...]


def _write_columns(y: Tensor) -> Tensor:
    y[:, :2].mul_(2)
    y[0].add_(1)
    return y * 3


def _write_under_a_view(y: Tensor) -> Tensor:
    view = y.flatten(1)
    y.relu_()
    return view + 1


def _assign(y: Tensor) -> Tensor:
    y[:, 0] = 0.0
    return y


IMAGE = (randn(1, 3, 32, 32),)
LAST = (randn(1, 3, 32, 32).to(memory_format=torch.channels_last),)

CASES: dict[str, Callable[[], Case]] = {
    "linear_relu": lambda: Case(Forward(lambda m, x: F.relu_(m.l(x)), l=nn.Linear(8, 4)), (randn(2, 8),)),
    "cl_conv": lambda: Case(Forward(lambda m, x: m.c(x).relu(), c=nn.Conv2d(3, 8, 3)), LAST),
    "cl_pool": lambda: Case(
        Forward(lambda m, x: m.p(m.c(x).relu()).mean((2, 3)), c=nn.Conv2d(3, 8, 3), p=nn.AvgPool2d(2)), LAST
    ),
    "to_cl": lambda: Case(
        Forward(lambda m, x: m.c(x.to(memory_format=torch.channels_last)).mean((2, 3)), c=nn.Conv2d(3, 8, 3)), IMAGE
    ),
    "contig": lambda: Case(
        Forward(lambda m, x: m.c(x).permute(0, 2, 3, 1).contiguous().view(1, -1, 8), c=nn.Conv2d(3, 8, 3)), IMAGE
    ),
    "inplace_view": lambda: Case(Forward(lambda m, x: _write_columns(m.c(x)), c=nn.Conv2d(3, 8, 3)), IMAGE),
    "inplace_stale": lambda: Case(Forward(lambda m, x: _write_under_a_view(m.c(x)), c=nn.Conv2d(3, 8, 3)), IMAGE),
    "setitem": lambda: Case(Forward(lambda m, x: _assign(x.clone())), IMAGE),
    "mha_weights": lambda: Case(
        Forward(lambda m, x: m.a(x, x, x)[1], a=nn.MultiheadAttention(16, 4, batch_first=True)), (randn(1, 10, 16),)
    ),
    "mha": lambda: Case(
        Forward(lambda m, x: m.a(x, x, x, need_weights=False)[0], a=nn.MultiheadAttention(16, 4)), (randn(10, 1, 16),)
    ),
    "sdpa_mask": lambda: Case(
        Forward(lambda m, q, mask: F.scaled_dot_product_attention(q, q, q, attn_mask=mask)),
        (randn(1, 4, 10, 16), randn(10, 10) > 0),
    ),
    "sdpa_causal": lambda: Case(
        Forward(lambda m, q: F.scaled_dot_product_attention(q, q, q, is_causal=True)), (randn(1, 4, 10, 16),)
    ),
    "sdpa_3d": lambda: Case(Forward(lambda m, q: F.scaled_dot_product_attention(q, q, q)), (randn(4, 10, 16),)),
    "sdpa_gqa": lambda: Case(
        Forward(lambda m, q, k: F.scaled_dot_product_attention(q, k, k, enable_gqa=True)),
        (randn(1, 4, 10, 16), randn(1, 2, 10, 16)),
    ),
    "interp_nearest": lambda: Case(Forward(lambda m, x: F.interpolate(x, scale_factor=2)), IMAGE),
    "interp_bilinear": lambda: Case(Forward(lambda m, x: F.interpolate(x, size=(50, 50), mode="bilinear")), IMAGE),
    "interp_bicubic": lambda: Case(Forward(lambda m, x: F.interpolate(x, size=(50, 50), mode="bicubic")), IMAGE),
    "interp_area": lambda: Case(Forward(lambda m, x: F.interpolate(x, size=(16, 16), mode="area")), IMAGE),
    "gn": lambda: Case(Forward(lambda m, x: m.g(m.c(x)), c=nn.Conv2d(3, 8, 3), g=nn.GroupNorm(2, 8)), IMAGE),
    "in": lambda: Case(
        Forward(lambda m, x: m.g(m.c(x)), c=nn.Conv2d(3, 8, 3), g=nn.InstanceNorm2d(8, affine=True)), IMAGE
    ),
    "convT": lambda: Case(Forward(lambda m, x: m.c(x), c=nn.ConvTranspose2d(3, 8, 3, stride=2)), IMAGE),
    "conv1d": lambda: Case(
        Forward(lambda m, x: m.c(x).max(-1)[0], c=nn.Conv1d(4, 8, 5, padding="same")), (randn(1, 4, 100),)
    ),
    "pixel_shuffle": lambda: Case(Forward(lambda m, x: F.pixel_shuffle(m.c(x), 2), c=nn.Conv2d(3, 8, 3)), IMAGE),
    "maxpool_idx": lambda: Case(Forward(lambda m, x: F.max_pool2d(x, 2, return_indices=True)), IMAGE),
    "adaptive": lambda: Case(Forward(lambda m, x: F.adaptive_avg_pool2d(x, (7, 7))), IMAGE),
    "adaptive_max": lambda: Case(Forward(lambda m, x: F.adaptive_max_pool2d(x, (1, 1))), IMAGE),
    "split": lambda: Case(Forward(lambda m, x: torch.cat([a * 2 for a in x.split([1, 2], 1)][::-1], 1)), IMAGE),
    "chunk": lambda: Case(
        Forward(lambda m, x: (lambda a, b: a * torch.sigmoid(b))(*m.c(x).chunk(2, 1)), c=nn.Conv2d(3, 8, 3)), IMAGE
    ),
    "unbind": lambda: Case(Forward(lambda m, x: torch.stack([a + 1 for a in x.unbind(1)], 1)), IMAGE),
    "out_view": lambda: Case(Forward(lambda m, x: m.l(x).view(-1), l=nn.Linear(8, 4)), (randn(2, 8),)),
    "out_input": lambda: Case(Forward(lambda m, x: (x, x + 1)), (randn(2, 8),)),
    "out_param": lambda: Case(Forward(lambda m, x: (m.l.weight, m.l(x)), l=nn.Linear(8, 4)), (randn(2, 8),)),
    "out_twice": lambda: Case(Forward(lambda m, x: (lambda y: (y, y))(m.l(x)), l=nn.Linear(8, 4)), (randn(2, 8),)),
    "unused_in": lambda: Case(Forward(lambda m, x, y: x + 1), (randn(2, 8), randn(100, 100))),
    "int_add": lambda: Case(Forward(lambda m, x: x + 1), (torch.arange(10),)),
    "int_div": lambda: Case(Forward(lambda m, x: x / 3), (torch.arange(10),)),
    "int_mul_f": lambda: Case(Forward(lambda m, x: x * 0.5), (torch.arange(10),)),
    "bool": lambda: Case(Forward(lambda m, x: (x > 0) & (x < 1)), (randn(5, 5),)),
    "where": lambda: Case(Forward(lambda m, x: torch.where(x > 0, x, 0.0)), (randn(5, 5),)),
    "masked_fill": lambda: Case(Forward(lambda m, x: x.masked_fill(x > 0, -1e9).softmax(-1)), (randn(5, 5),)),
    "const": lambda: Case(Forward(lambda m, x: x + torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])), (randn(5, 5),)),
    "arange": lambda: Case(Forward(lambda m, x: x + torch.arange(5)), (randn(5, 5),)),
    "einsum": lambda: Case(Forward(lambda m, x: torch.einsum("bij,bjk->bik", x, x)), (randn(2, 5, 5),)),
    "einsum2": lambda: Case(
        Forward(lambda m, x, y: torch.einsum("bhid,bhjd->bhij", x, y)), (randn(2, 3, 5, 4), randn(2, 3, 6, 4))
    ),
    "rms": lambda: Case(Forward(lambda m, x: m.n(x), n=nn.RMSNorm(8)), (randn(2, 5, 8),)),
    "ln_noaff": lambda: Case(Forward(lambda m, x: F.layer_norm(x, (8,))), (randn(2, 5, 8),)),
    "normalize": lambda: Case(Forward(lambda m, x: F.normalize(x)), (randn(2, 8),)),
    "prelu": lambda: Case(Forward(lambda m, x: m.p(m.c(x)), c=nn.Conv2d(3, 8, 3), p=nn.PReLU(8)), IMAGE),
    "acts": lambda: Case(
        Forward(lambda m, x: F.elu(F.silu(F.mish(F.softplus(F.gelu(x, approximate="tanh")))))), (randn(2, 8),)
    ),
    "acts2": lambda: Case(
        Forward(lambda m, x: F.hardswish(F.hardsigmoid(F.leaky_relu(F.relu6(F.celu(F.selu(F.glu(x)))))))),
        (randn(2, 8),),
    ),
    "emb": lambda: Case(Forward(lambda m, x: m.e(x).sum(1), e=nn.Embedding(10, 8)), (torch.arange(6)[None],)),
    "gather": lambda: Case(Forward(lambda m, x: x.gather(1, x.argsort(1))), (randn(2, 8),)),
    "topk": lambda: Case(Forward(lambda m, x: x.topk(3)[0]), (randn(2, 8),)),
    "cumsum": lambda: Case(Forward(lambda m, x: x.cumsum(1)), (randn(2, 8),)),
    "var": lambda: Case(Forward(lambda m, x: (x.var(1), x.std(0))), (randn(4, 8),)),
    "roll_flip": lambda: Case(Forward(lambda m, x: x.roll(1, 1).flip(0)), (randn(4, 8),)),
    "repeat": lambda: Case(Forward(lambda m, x: x.repeat(2, 3) + x.tile(2, 3)), (randn(4, 8),)),
    "unfold": lambda: Case(Forward(lambda m, x: F.unfold(x, 3)), IMAGE),
    "grid": lambda: Case(Forward(lambda m, x: F.grid_sample(x, torch.zeros(1, 4, 4, 2))), IMAGE),
    "pad": lambda: Case(
        Forward(lambda m, x: F.pad(F.pad(x, (1, 1, 1, 1), mode="reflect"), (1, 1, 1, 1), mode="replicate")), IMAGE
    ),
    "norm": lambda: Case(Forward(lambda m, x: x.norm(dim=1) + torch.linalg.vector_norm(x, dim=1)), (randn(4, 8),)),
    "pow": lambda: Case(Forward(lambda m, x: x.pow(2).mean().sqrt() + x.abs().log().exp().rsqrt()), (randn(4, 8),)),
    "minmax": lambda: Case(Forward(lambda m, x: (x.amax(1), x.min(1)[0], x.argmax(1))), (randn(4, 8),)),
    "detach": lambda: Case(Forward(lambda m, x: x.detach() * 2 + x.clone()), (randn(4, 8),)),
    "dropout": lambda: Case(Forward(lambda m, x: m.d(x) + 1, d=nn.Dropout()), (randn(4, 8),)),
    "slicefull": lambda: Case(Forward(lambda m, x: x[:, :] + x[:, 0:8]), (randn(4, 8),)),
    "expand": lambda: Case(Forward(lambda m, x: x.expand(4, 8) + x.expand_as(x)), (randn(1, 8),)),
    "half": lambda: Case(Forward(lambda m, x: m.l(x.half()).float(), l=nn.Linear(8, 4).half()), (randn(2, 8),)),
    "rnn": lambda: Case(Forward(lambda m, x: m.l(x)[0], l=nn.RNN(8, 4)), (randn(5, 2, 8),)),
    "lstmproj": lambda: Case(Forward(lambda m, x: m.l(x)[0], l=nn.LSTM(8, 4, proj_size=2)), (randn(5, 2, 8),)),
    "lstmcell": lambda: Case(Forward(lambda m, x: m.l(x)[0], l=nn.LSTMCell(8, 4)), (randn(2, 8),)),
    "bn3d": lambda: Case(
        Forward(lambda m, x: m.b(m.c(x)), c=nn.Conv3d(3, 4, 3), b=nn.BatchNorm3d(4)), (randn(1, 3, 8, 8, 8),)
    ),
    "bn1d": lambda: Case(Forward(lambda m, x: m.b(x), b=nn.BatchNorm1d(4)), (randn(2, 4),)),
    "emb_bag": lambda: Case(Forward(lambda m, x: m.e(x), e=nn.EmbeddingBag(10, 8)), (torch.arange(6)[None],)),
    "view_chain": lambda: Case(
        Forward(
            lambda m, x: m.l(x).view(4, -1).view(2, 2, -1).unsqueeze(0).squeeze(0).flatten(1) * 2, l=nn.Linear(8, 4)
        ),
        (randn(2, 8),),
    ),
    "view_const": lambda: Case(Forward(lambda m, x: x @ m.l.weight.view(8, 4), l=nn.Linear(8, 4)), (randn(2, 8),)),
    "cat_empty": lambda: Case(Forward(lambda m, x: torch.cat([x, x[:0]], 0) + 1), (randn(2, 8),)),
    "mixed": lambda: Case(Forward(lambda m, x, y: x + y), (randn(5), torch.arange(5))),
    "mixed0": lambda: Case(Forward(lambda m, x, y: x * y), (randn(5), torch.tensor(2))),
    "sub_rsub": lambda: Case(Forward(lambda m, x: 1 - x), (randn(5),)),
    "floor": lambda: Case(Forward(lambda m, x: (x // 2) + (x % 2)), (torch.arange(5),)),
    "stack_mean": lambda: Case(Forward(lambda m, x: torch.stack([x, x * 2]).mean(0)), (randn(5),)),
    "tril": lambda: Case(Forward(lambda m, x: x.tril() + torch.ones(5, 5).triu(1)), (randn(5, 5),)),
    "new_ones": lambda: Case(Forward(lambda m, x: x * x.new_ones(5) + torch.ones_like(x)), (randn(5, 5),)),
    "scatter": lambda: Case(
        Forward(lambda m, x: torch.zeros(5, 5).scatter(1, x.argmax(1, keepdim=True), 1.0)), (randn(5, 5),)
    ),
    "addmm_bcast": lambda: Case(Forward(lambda m, x: m.l(x), l=nn.Linear(8, 4, bias=False)), (randn(2, 3, 4, 8),)),
    "bilinear": lambda: Case(Forward(lambda m, x: m.b(x, x), b=nn.Bilinear(8, 8, 4)), (randn(2, 8),)),
    "chshuffle": lambda: Case(Forward(lambda m, x: F.channel_shuffle(m.c(x), 2), c=nn.Conv2d(3, 8, 3)), IMAGE),
    "movedim": lambda: Case(Forward(lambda m, x: x.movedim(1, -1).transpose(1, 2).reshape(1, -1, 3)), IMAGE),
    "tformer": lambda: Case(Forward(lambda m, x: m.t(x, x), t=nn.Transformer(16, 2, 1, 1, 32)), (randn(5, 1, 16),)),
    "ctx_attn": lambda: Case(
        Forward(lambda m, x: ((x @ x.transpose(-2, -1)) * 0.1).softmax(-1) @ x), (randn(1, 4, 10, 16),)
    ),
    "complex_slice": lambda: Case(Forward(lambda m, x: x[..., ::2] + x[..., 1::2]), (randn(4, 8),)),
    "cl_sum": lambda: Case(
        Forward(
            lambda m, x: m.c(x).sum((2, 3)).unsqueeze(-1).unsqueeze(-1).expand(1, 8, 4, 4) * 1.0, c=nn.Conv2d(3, 8, 3)
        ),
        LAST,
    ),
    "se": lambda: Case(
        Forward(
            lambda m, x: (lambda y: y * torch.sigmoid(m.fc(y.mean((2, 3), keepdim=True))))(m.c(x)),
            c=nn.Conv2d(3, 8, 3),
            fc=nn.Conv2d(8, 8, 1),
        ),
        IMAGE,
    ),
    "counter": lambda: Case(Counter(), (randn(4),)),
}

PLANNED: dict[str, int | None] = {
    "linear_relu": 224,
    "cl_conv": 57600,
    "cl_pool": 57600,
    "to_cl": 57600,
    "contig": 57600,
    "inplace_view": 86416,
    "inplace_stale": 57616,
    "setitem": 36880,
    "mha_weights": 6912,
    "mha": 6912,
    "sdpa_mask": 13200,
    "sdpa_causal": 13200,
    "sdpa_3d": 12800,
    "sdpa_gqa": 12800,
    "interp_nearest": 61440,
    "interp_bilinear": 42288,
    "interp_bicubic": 255952,
    "interp_area": 15360,
    "gn": 57632,
    "in": 57728,
    "convT": 147488,
    "conv1d": 4800,
    "pixel_shuffle": 57600,
    "maxpool_idx": 21504,
    "adaptive": 12880,
    "adaptive_max": None,
    "split": 32768,
    "chunk": 57600,
    "unbind": 36864,
    "out_view": 224,
    "out_input": 144,
    "out_param": 224,
    "out_twice": 224,
    "unused_in": 40064,
    "int_add": 160,
    "int_div": 128,
    "int_mul_f": 128,
    "bool": 176,
    "where": 272,
    "masked_fill": 272,
    "const": 256,
    "arange": 256,
    "einsum": 832,
    "einsum2": 2400,
    "rms": 960,
    "ln_noaff": 736,
    "normalize": 192,
    "prelu": 93600,
    "acts": 256,
    "acts2": 160,
    "emb": 240,
    "gather": 256,
    "topk": 144,
    "cumsum": 128,
    "var": 176,
    "roll_flip": 320,
    "repeat": 2304,
    "unfold": 194400,
    "grid": 12608,
    "pad": 30528,
    "norm": 288,
    "pow": 288,
    "minmax": 192,
    "detach": 512,
    "dropout": 272,
    "slicefull": 384,
    "expand": 288,
    "half": 112,
    "rnn": 640,
    "lstmproj": 1520,
    "lstmcell": 864,
    "bn3d": 9600,
    "bn1d": 64,
    "emb_bag": 176,
    "view_chain": 224,
    "view_const": 96,
    "cat_empty": 144,
    "mixed": 112,
    "mixed0": 80,
    "sub_rsub": 80,
    "floor": 144,
    "stack_mean": 112,
    "tril": 576,
    "new_ones": 336,
    "scatter": 272,
    "addmm_bcast": 1280,
    "bilinear": None,
    "chshuffle": 57600,
    "movedim": 24576,
    "tformer": 6080,
    "ctx_attn": 10240,
    "complex_slice": 256,
    "cl_sum": 57600,
    "se": 57632,
    "counter": 64,
}

WITHOUT_KERNEL = {"gather": "aten.sort.default", "emb_bag": "aten._embedding_bag.default",
                  "bn3d": "aten.conv3d.default"}  # fmt: skip
"""Cases that executorch lowers and plans, and does not load: the operator it has no kernel for."""

PLANNED_WITH_XNNPACK: dict[str, int | None] = {
    "linear_relu": 160, "cl_conv": 41152, "cl_pool": 19552, "to_cl": 57664, "contig": 41152, "inplace_view": 86512,
    "inplace_stale": 41168, "setitem": 36944, "mha_weights": 3904, "mha": 6144, "sdpa_mask": 12304, "sdpa_causal":
    11904, "sdpa_3d": 11904, "sdpa_gqa": 13504, "interp_nearest": 61440, "interp_bilinear": 42352, "interp_bicubic":
    511728, "interp_area": 15360, "gn": 57696, "in": 57792, "convT": 147552, "conv1d": 4864, "pixel_shuffle": 41152,
    "maxpool_idx": 21504, "adaptive": 12880, "adaptive_max": None, "split": 24672, "chunk": 57664, "unbind": 28784,
    "out_view": 160, "out_input": 208, "out_param": None, "out_twice": 160, "unused_in": 40128, "int_add": 160,
    "int_div": 208, "int_mul_f": 192, "bool": 176, "where": 272, "masked_fill": 336, "const": 288, "arange": 320,
    "einsum": 480, "einsum2": 1840, "rms": 800, "ln_noaff": 736, "normalize": 256, "prelu": 41152, "acts": 336,
    "acts2": 240, "emb": 240, "gather": 256, "topk": 144, "cumsum": 128, "var": 240, "roll_flip": 320, "repeat":
    2368, "unfold": 194464, "grid": 12608, "pad": 30528, "norm": 448, "pow": 336, "minmax": 192, "detach": 464,
    "dropout": 336, "slicefull": 448, "expand": 352, "half": 160, "rnn": 576, "lstmproj": 1456, "lstmcell": 352,
    "bn3d": 9600, "bn1d": 128, "emb_bag": 176, "view_chain": 208, "view_const": 288, "cat_empty": 208, "mixed": 176,
    "mixed0": 144, "sub_rsub": 144, "floor": 144, "stack_mean": 160, "tril": 880, "new_ones": 432, "scatter": 272,
    "addmm_bcast": 1216, "bilinear": None, "chshuffle": 41152, "movedim": 24640, "tformer": 8256, "ctx_attn": 11904,
    "complex_slice": 320, "cl_sum": 57664, "se": 41152, "counter": 144,
}  # fmt: skip
"""The same where XNNPACK's partitioner took what it takes (`to_edge_transform_and_lower`); None where that fails."""

ESTIMATED_OTHERWISE: dict[str, int] = {
    "to_cl": 41152, "inplace_view": 86464, "inplace_stale": 41152, "setitem": 28736, "mha_weights": 5824,
    "sdpa_gqa": 14464, "split": 24640, "unbind": 24640, "out_input": 192, "int_div": 128, "int_mul_f": 128, "where":
    256, "masked_fill": 320, "arange": 272, "rms": 752, "acts2": 208, "roll_flip": 256, "detach": 320, "dropout":
    320, "lstmproj": 1840, "emb_bag": 160, "view_chain": 192, "cat_empty": 192, "mixed": 112, "mixed0": 80,
    "sub_rsub": 128, "stack_mean": 176, "tril": 656, "tformer": 6624, "ctx_attn": 10304, "cl_sum": 41152, "counter":
    96,
}  # fmt: skip
"""Where the estimate of that arena is another one: copies between types and layouts, and writes through views."""
