"""What is run on PyTorch's meta kernels in the place of its fake ones gives tensors of the same form."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils._pytree import tree_leaves

from edgebudget.tracing.export_modes import _ON_META, Engine, Meta

aten = torch.ops.aten
Arguments = Callable[[torch.Tensor, st.DataObject], tuple[object, ...]]


def divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def another_shape(x: torch.Tensor, data: st.DataObject) -> list[int]:
    """Return a shape of as many elements: dimensions joined, parted, or of one element put between."""
    left, shape = x.numel(), []
    for _ in range(data.draw(st.integers(0, 4))):
        shape.append(data.draw(st.sampled_from([1, *divisors(left)])))
        left //= shape[-1]
    return [*shape, left]


def some_dimension(x: torch.Tensor, data: st.DataObject) -> int:
    return data.draw(st.integers(-x.dim(), x.dim() - 1))


def part(x: torch.Tensor, data: st.DataObject) -> tuple[int, int, int, int]:
    at = some_dimension(x, data)
    size = x.shape[at]
    return at, data.draw(st.integers(-size, size)), data.draw(st.sampled_from([0, 1, 3, -1, 2**63 - 1])), 1


def another_operand(x: torch.Tensor, data: st.DataObject) -> object:
    """Return the same, one that is broadcast or transposed, one of another type or a number."""
    others = [x, x.clone(), x[:1], x.new_empty(x.shape), x.new_empty(()), x.to(torch.float32), x.to(torch.int64)]
    return data.draw(st.sampled_from([*others, 2, 2.5, x.transpose(0, 1) if x.shape[0] == x.shape[1] else x]))


CASES: dict[torch._ops.OpOverload, Arguments] = {
    aten.view.default: lambda x, data: (x, another_shape(x, data)),
    aten.slice.Tensor: lambda x, data: (x, *part(x, data)[:-1], data.draw(st.integers(1, 3))),
    aten.permute.default: lambda x, data: (x, data.draw(st.permutations(range(x.dim())))),
    aten.expand.default: lambda x, data: (x, [data.draw(st.integers(1, 3)), *[3 if n == 1 else n for n in x.shape]]),
    aten.unsqueeze.default: lambda x, data: (x, data.draw(st.integers(-x.dim() - 1, x.dim()))),
    aten.squeeze.dims: lambda x, data: (x, data.draw(st.lists(st.integers(0, x.dim() - 1), unique=True))),
    aten.select.int: lambda x, data: (x, some_dimension(x, data), 0),
    aten.detach.default: lambda x, data: (x,),
    aten.slice_scatter.default: lambda x, data: (lambda place: (x, aten.slice.Tensor(x, *place), *place))(
        part(x, data)
    ),
    aten.full_like.default: lambda x, data: (x, 2.5),
    aten.clone.default: lambda x, data: (x,),
    aten.mm.default: lambda x, data: (matrix := x.flatten(1), matrix.t()),
    aten.bmm.default: lambda x, data: (batch := x.flatten(2), batch.transpose(1, 2)),
    aten.addmm.default: lambda x, data: (x.new_empty(x.shape[0]), m := x.flatten(1), m.t()),
    aten._to_copy.default: lambda x, data: (x,),
    aten.add.Tensor: lambda x, data: (x, another_operand(x, data)),
    aten.mul.Tensor: lambda x, data: (x, another_operand(x, data)),
    aten.mul.Scalar: lambda x, data: (x, data.draw(st.sampled_from([2, 2.0]))),
    aten.pow.Tensor_Scalar: lambda x, data: (x, data.draw(st.sampled_from([2, 2.0]))),
    aten.fmod.Scalar: lambda x, data: (x, data.draw(st.sampled_from([2, 2.0]))),
    aten.index_select.default: lambda x, data: (x, some_dimension(x, data), torch.empty(3, dtype=torch.int64)),
    aten.constant_pad_nd.default: lambda x, data: (x, data.draw(st.lists(st.integers(-1, 2), min_size=2, max_size=2))),
    aten.avg_pool2d.default: lambda x, data: (x, [2, 2], [1, 1], [data.draw(st.integers(0, 1)), 0]),
}
KEYWORDS = {
    aten.clone.default: [{}, {"memory_format": torch.contiguous_format}, {"memory_format": torch.preserve_format}],
    aten.full_like.default: [{"pin_memory": False}, {"dtype": torch.bool}],
    aten._to_copy.default: [{"dtype": torch.float32}, {"dtype": torch.float16}, {"dtype": torch.int64}, {}],
    aten.add.Tensor: [{}, {"alpha": 2}],
}


@st.composite
def tensors(draw: st.DrawFn) -> Meta:
    """Return a tensor with three or four dimensions: permuted, a part of a larger one, or expanded."""
    shape = draw(st.lists(st.integers(0, 4), min_size=3, max_size=4))
    room = [n + draw(st.sampled_from([0, 0, 1])) for n in shape]
    strides, step = {}, 1
    for d in draw(st.permutations(range(len(shape)))):
        strides[d] = 0 if draw(st.integers(0, 9)) == 0 else step
        step *= room[d]
    dtype = draw(st.sampled_from(["float32", "float16"]))
    return Meta(tuple(shape), tuple(strides[d] for d in range(len(shape))), dtype)


def test_every_operator_run_on_meta_has_a_case() -> None:
    assert CASES.keys() == _ON_META


@pytest.mark.parametrize("operator", CASES, ids=str)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(meta=tensors(), data=st.data())
def test_a_meta_kernel_gives_what_the_fake_one_gives(
    operator: torch._ops.OpOverload, meta: Meta, data: st.DataObject
) -> None:
    engine = Engine()
    kwargs = data.draw(st.sampled_from(KEYWORDS.get(operator, [{}])))
    x = engine.make(meta)
    with engine.fake:
        args = CASES[operator](x, data)
        expected = form(operator, *args, **kwargs)
        assert form(engine.recorder._run, operator, args, kwargs) == expected


def form(run: Callable[..., object], *args: object, **kwargs: object) -> object:
    try:
        made = [x for x in tree_leaves(run(*args, **kwargs)) if isinstance(x, torch.Tensor)]
    except (RuntimeError, ValueError, IndexError):
        return "refused"
    return [(x.shape, x.stride(), x.storage_offset(), x.dtype, x.device) for x in made]
