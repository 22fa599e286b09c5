"""What the trace foresees of operators against what running them on meta gives."""

from collections.abc import Callable
from random import Random
from unittest.mock import patch

import pytest
import torch

from edgebudget.graph import Role
from edgebudget.sources import load_model
from edgebudget.tracing import blocks, leaves, recorder, trace
from edgebudget.tracing.foreseen import foresee
from edgebudget.tracing.recorder import Recorder
from edgebudget.tracing.rules import Learned, Rule

FEW = ("convnext_tiny", "densenet121", "googlenet", "mobilenet_v3_small", "r3d_18", "swin_t", "vit_b_32")


def run(target: str, args: tuple[object, ...], kwargs: dict[str, object]) -> Rule:
    """Return what is learned of an operator that runs."""
    _, name, overload = target.split(".")
    met = Recorder()
    with torch.inference_mode():
        for arg in args:
            for tensor in arg if isinstance(arg, list) else [arg]:
                if isinstance(tensor, torch.Tensor):
                    met.adopt(tensor, Role.INPUT, "")
        return met._learn(getattr(getattr(torch.ops.aten, name), overload), args, kwargs)[1]


def foreseen_in(name: str) -> int:
    """Hold everything that is foreseen while a model is traced against running it; return how much that was."""
    held = 0

    def watched(target: str, args: tuple[object, ...], kwargs: dict[str, object]) -> Rule | None:
        nonlocal held
        answer = foresee(target, args, kwargs)
        if answer is not None:
            copies = [[torch.empty_like(t) for t in arg] if isinstance(arg, list) and target == "aten.cat.default"
                      else torch.empty_like(arg) if isinstance(arg, torch.Tensor) else arg for arg in args]  # fmt: skip
            assert run(target, tuple(copies), kwargs) == answer
            held += 1
        return answer

    model = load_model(name)
    with (
        patch.object(recorder, "foresee", watched),
        patch.object(recorder, "RULES", Learned()),
        patch.object(leaves, "_REPLAYS", Learned()),
        patch.object(blocks, "_ROUTINES", type(blocks._ROUTINES)()),
    ):
        trace(model.module, model.args, model.kwargs, name=name)
    return held


@pytest.mark.parametrize("name", FEW)
def test_what_is_foreseen_of_a_models_operators_is_what_they_give(name: str) -> None:
    assert foreseen_in(name) > 5


def tensor(chance: Random, *shape: int) -> torch.Tensor:
    """Return a tensor of a shape like `shape`, mostly; now and then of another type, order or number of dimensions."""
    size = list(shape)
    if chance.random() < 0.1:
        size[chance.randrange(len(size))] = chance.choice([0, 1, 2, 5])
    if chance.random() < 0.05:
        size = size[1:] if chance.random() < 0.5 else [1, *size]
    dtype = chance.choice([torch.float32] * 18 + [torch.float16, torch.int64])
    made = torch.empty(size, dtype=dtype, device="meta")
    if chance.random() < 0.15 and made.dim() > 1:
        made = made.transpose(*chance.sample(range(made.dim()), 2)).contiguous().transpose(-1, -2)
    return made[..., ::2] if chance.random() < 0.05 and made.dim() else made


def image(chance: Random) -> torch.Tensor:
    return tensor(chance, *[chance.choice([1, 2, 4, 6, 7]) for _ in range(4)])


def convolution(chance: Random, dimensions: int = 2) -> tuple[object, ...]:
    groups, inputs = chance.choice([1, 1, 2, 4]), chance.choice([1, 1, 2, 3])
    outputs = groups * chance.choice([1, 2, 3])
    x = tensor(chance, chance.choice([1, 2]), groups * inputs, *[chance.choice([1, 5, 8, 9])] * dimensions)
    weight = tensor(chance, outputs, inputs, *[chance.choice([1, 2, 3])] * dimensions)
    rest = [[chance.choice([1, 2])] * dimensions, [chance.choice([0, 1, 3])] * dimensions, [1] * dimensions, groups]
    if chance.random() < 0.3:
        rest[2] = [2] * dimensions
    given = [x, weight, chance.choice([None, tensor(chance, outputs)]), *rest]
    return tuple(given[: chance.choice([2, 3, 4, 5, 7, 7, 7])])


def norm(chance: Random) -> tuple[object, ...]:
    x = image(chance)
    channels = x.shape[1] if x.dim() > 1 else 3
    weight, bias, mean, variance = [tensor(chance, channels) for _ in range(4)]
    affine = chance.choice([(None, None), (weight, bias), (weight, bias)])
    return (x, *affine, mean, variance, chance.random() < 0.1, 0.1, 1e-5, False)


def joined(chance: Random) -> tuple[object, ...]:
    x = image(chance)
    like = tensor(chance, *[chance.choice([1, n]) if chance.random() < 0.4 else n for n in x.shape] or [1])
    return x, chance.choice([like, like, 2, 0.5, True])


def windows(chance: Random) -> tuple[object, ...]:
    side = chance.choice([1, 2, 3])
    stride = chance.choice([[], [1, 1], [2, 1]])
    rest = [[side, 2], stride, [chance.choice([0, 1])] * 2, [chance.choice([1, 2])] * 2, chance.random() < 0.2]
    return (image(chance), *rest[: chance.choice([1, 2, 3, 4, 5])])


def layer(chance: Random) -> tuple[object, ...]:
    x = image(chance)
    over = list(x.shape[chance.choice([-1, -2]) :]) or [1]
    return x, over, chance.choice([None, tensor(chance, *over)]), chance.choice([None, tensor(chance, *over)]), 1e-5


def linear(chance: Random) -> tuple[object, ...]:
    x = chance.choice([image(chance), tensor(chance, 3, 4)])
    weight = tensor(chance, 7, x.shape[-1] if x.dim() else 1)
    return chance.choice([(x, weight), (x, weight, tensor(chance, 7)), (x, weight, None)])


def parts(chance: Random) -> tuple[object, ...]:
    x = image(chance)
    along = chance.randrange(-5, 5)
    others = []
    for _ in range(chance.choice([0, 1, 2])):
        size = list(x.shape) or [1]
        size[along % len(size)] = chance.choice([1, 3])
        others.append(tensor(chance, *size))
    return chance.choice([([x, *others], along), ([x, *others], along), ([x, *others],)])


CALLS: dict[str, Callable[[Random], tuple[object, ...]]] = {
    "aten.conv1d.default": lambda chance: convolution(chance, 1),
    "aten.conv2d.default": convolution,
    "aten.conv3d.default": lambda chance: convolution(chance, 3),
    "aten.batch_norm.default": norm,
    "aten.layer_norm.default": layer,
    "aten.linear.default": linear,
    "aten.adaptive_avg_pool2d.default": lambda chance: (image(chance), [chance.choice([1, 2]), chance.choice([1, 3])]),
    "aten.max_pool2d.default": windows,
    "aten.cat.default": parts,
    "aten.add.Tensor": joined,
    "aten.add_.Tensor": joined,
    "aten.mul.Tensor": joined,
    "aten.mul_.Tensor": joined,
    "aten.dropout.default": lambda chance: (image(chance), 0.5, chance.random() < 0.3),
    "aten.dropout_.default": lambda chance: (image(chance), 0.5, chance.random() < 0.3),
    "aten.flatten.using_ints": lambda chance: (image(chance), *chance.sample(range(-5, 5), chance.choice([0, 1, 2]))),
    **{
        f"aten.{name}.default": lambda chance: (image(chance),)
        for name in ("relu", "relu_", "gelu", "silu", "silu_", "sigmoid", "hardswish", "hardswish_", "hardsigmoid")
    },
    "aten.hardtanh.default": lambda chance: (image(chance), 0.0, 6.0),
    "aten.hardtanh_.default": lambda chance: (image(chance), 0.0, 6.0),
}  # fmt: skip


def test_every_rule_is_held() -> None:
    from edgebudget.tracing import foreseen

    assert CALLS.keys() == foreseen._RULES.keys()


@pytest.mark.parametrize("target", CALLS)
def test_what_is_foreseen_is_what_running_gives(target: str) -> None:
    held = 0
    for seed in range(150):
        args = CALLS[target](Random(seed))
        answer = foresee(target, args, {})
        if answer is None:
            continue
        try:
            assert run(target, args, {}) == answer, (seed, args)
        except (RuntimeError, IndexError, ValueError, TypeError) as refused:
            pytest.fail(f"{target} refuses what is foreseen, seed {seed}: {refused}")
        held += 1
    assert held > 15
