"""What estimates of one graph share is what each would have made for itself, and goes with the graph."""

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from executorch_cases import Forward
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from edgebudget.dtypes import DTYPES
from edgebudget.graph import TracedGraph
from edgebudget.pipeline import resolve_asked
from edgebudget.runtimes import RUNTIMES, executorch
from edgebudget.runtimes._executorch_edge import lower
from edgebudget.runtimes._executorch_values import census
from edgebudget.runtimes.interface import MemoryLayout
from edgebudget.sources import load_model
from edgebudget.target import Target
from edgebudget.tracing import core_aten, trace
from edgebudget.tracing.core_aten import decompose

TARGETS = list(dict.fromkeys(device.target for device in resolve_asked(["all"])))
OPTIONS = [
    *[("executorch-xnnpack", dtype) for dtype in ("float32", "float16", "int8", "int8-dynamic", "int4-weight-only")],
    *[("tflite-micro", dtype) for dtype in ("float32", "int8")],
    *[("executorch", dtype) for dtype in ("float32", "float16")],
    *[("pytorch", dtype) for dtype in ("float32", "int8")],
    ("onnxruntime", "int8"),
]


@cache
def traced(name: str) -> TracedGraph:
    loaded = load_model(name)
    return trace(loaded.module, loaded.args, loaded.kwargs, name=name)


@pytest.mark.parametrize(("runtime", "dtype"), OPTIONS)
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "swin_t"])
def test_the_layouts_of_one_graph_are_those_of_graphs_of_their_own(name: str, runtime: str, dtype: str) -> None:
    graph, laid_out = traced(name), RUNTIMES.get(runtime).lay_out
    targets = TARGETS if (name, runtime) == ("mobilenet_v3_small", "executorch-xnnpack") else TARGETS[::12]
    for target in targets:
        shared = laid_out(graph, DTYPES.get(dtype), target)
        assert shared == laid_out(replace(graph), DTYPES.get(dtype), target)


def test_devices_differ() -> None:
    heaps = {laid_out_on(target).load_heap_bytes for target in TARGETS}
    assert len(heaps) > 1


def laid_out_on(target: Target) -> MemoryLayout:
    layout = RUNTIMES.get("executorch-xnnpack").lay_out(traced("mobilenet_v3_small"), DTYPES.get("float32"), target)
    assert isinstance(layout, MemoryLayout)
    return layout


@pytest.mark.parametrize(("runtime", "dtype"), OPTIONS)
def test_what_was_made_of_a_graph_goes_with_it(runtime: str, dtype: str) -> None:
    graph = trace(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 8)), (image(1, 3, 8, 8),))
    gone = weakref.ref(graph)
    layout = RUNTIMES.get(runtime).lay_out(graph, DTYPES.get(dtype), Target(isa="x86-64"))
    assert isinstance(layout, MemoryLayout)
    del graph, layout
    gc.collect()
    assert gone() is None


def image(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="meta")


Operator = Callable[[nn.Module, torch.Tensor], torch.Tensor]
DERIVED: dict[str, Operator] = {
    "relu": lambda m, x: F.relu(x + 1),
    "relu_": lambda m, x: F.relu_(x + 1),
    "silu_": lambda m, x: F.silu(x + 1, inplace=True),
    "hardswish": lambda m, x: F.hardswish(x),
    "hardsigmoid": lambda m, x: F.hardsigmoid(x),
    "hardtanh_": lambda m, x: F.relu6(x + 1, inplace=True),
    "gelu": lambda m, x: F.gelu(x),
    "sigmoid": lambda m, x: x.sigmoid(),
    "tanh": lambda m, x: x.tanh(),
    "exp": lambda m, x: x.exp(),
    "clamp": lambda m, x: x.clamp(0, 1).clamp_min(0.5),
    "add": lambda m, x: x + x,
    "add_": lambda m, x: (x * 2).add_(x),
    "sub": lambda m, x: x - 1,
    "div": lambda m, x: x / x,
    "gate": lambda m, x: x * x[:, :, :1, :1].contiguous(),
    "channels": lambda m, x: x[:, :1].contiguous() * x,
    "lower rank": lambda m, x: x + x[0, 0].contiguous(),
    "permuted": lambda m, x: F.relu(x.permute(0, 2, 3, 1)),
    "cat": lambda m, x: torch.cat([x, x], 1),
    "cat of different": lambda m, x: torch.cat([x, x[:, :1].contiguous()], 1),
    "max_pool2d": lambda m, x: F.max_pool2d(x, 2, 2, 1),
    "conv2d": lambda m, x: m.conv(x),
    "depthwise": lambda m, x: m.depthwise(x),
    "batch_norm": lambda m, x: m.norm(x),
    "linear": lambda m, x: m.linear(x.permute(0, 2, 3, 1)),
    "layer_norm": lambda m, x: F.layer_norm(x.transpose(1, -1), (4,)),
    "pool": lambda m, x: F.adaptive_avg_pool2d(x, 1).flatten(1),
    "matmul": lambda m, x: x @ x.transpose(-1, -2),
    "softmax": lambda m, x: x.permute(0, 3, 1, 2).softmax(1),
    "softmax in float32": lambda m, x: x.softmax(1, dtype=torch.float32) + 1,
    "mean": lambda m, x: x.mean((2, 3)) + x.mean(),
    "dropout": lambda m, x: F.dropout(x + 1, training=m.training),
    "clone": lambda m, x: x.transpose(1, 2).clone() + x.clone(memory_format=torch.channels_last).transpose(1, 2),
    "expand": lambda m, x: x[:1, :1].expand(2, 3, -1, -1) * x[:1, :1].expand_as(x)[:1, :1],
    "unflatten": lambda m, x: x.unflatten(1, (2, 2)).squeeze(0) + 1,
    "squeeze": lambda m, x: x.squeeze(1).squeeze((0, 2)) + 1,
    "unbind": lambda m, x: torch.stack(x.transpose(1, 2).unbind(2), 1).swapaxes(0, 1),
    "split": lambda m, x: torch.cat(x.split([1, 3], 1)[::-1], 1).reshape_as(x.permute(0, 2, 3, 1)),
    "repeat": lambda m, x: x.repeat(2, 1, 1, 3),
    "new_zeros": lambda m, x: x.new_zeros(3, 4).fill_(2) + (x + 1).zero_()[0, 0, 0, 0],
    "masked_fill": lambda m, x: x.masked_fill(x == 0, -100.0).masked_fill(x != 1, 0),
    "scalars": lambda m, x: (x * 0.5 + 1) / 3,
    "mixed types": lambda m, x: torch.cat([x.flatten(), torch.arange(3, device=x.device).float()]) + 1,
}
SHAPES = st.tuples(st.integers(1, 3), st.just(4), st.integers(1, 6), st.integers(1, 6))


@pytest.mark.parametrize("name", DERIVED)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=SHAPES, second=SHAPES, dtype=st.sampled_from(["float32", "float16"]))
def test_what_is_derived_is_what_running_the_operator_gives(
    name: str, first: tuple[int, ...], second: tuple[int, ...], dtype: str
) -> None:
    with torch.device("meta"):
        module = Forward(
            DERIVED[name], conv=nn.Conv2d(4, 3, 3, padding=1), depthwise=nn.Conv2d(4, 4, 1, groups=4),
            norm=nn.BatchNorm2d(4), linear=nn.Linear(4, 5),
        ).eval()  # fmt: skip
    graph = trace(module, (image(*second),))
    option = DTYPES.get(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core_aten, "_TEMPLATES", {})
        patch.setattr(core_aten, "_FORMS", {})
        decompose(trace(module, (image(*first),)), "float32")
        decompose(graph, "float32")
        derived, planned = decompose(graph, dtype), executorch._plan(graph, option)
        patch.setattr(core_aten, "_TEMPLATES", {})
        patch.setattr(core_aten, "_FORMS", {})
        run = decompose(graph, dtype)
    assert (derived.ops, derived.tensors, derived.storages) == (run.ops, run.tensors, run.storages)
    program = lower(run)
    assert planned == executorch._make_plan(program, census(program))


@pytest.mark.parametrize("name", ["mobilenet_v2", "convnext_tiny", "squeezenet1_0"])
def test_half_precision_is_planned_from_the_program_in_float32_where_it_becomes_the_same(name: str) -> None:
    graph = replace(traced(name))
    with pytest.MonkeyPatch.context() as patch:
        asked: list[str] = []
        patch.setattr(executorch, "to_core_aten", lambda graph, dtype: asked.append(dtype) or decompose(graph, dtype))
        planned = executorch._plan(graph, DTYPES.get("float16"))
        assert asked == ["float32"]
    program = lower(decompose(graph, "float16"))
    assert planned == executorch._make_plan(program, census(program))
