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
from edgebudget.runtimes import RUNTIMES
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
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core_aten, "_TEMPLATES", {})
        patch.setattr(core_aten, "_FORMS", {})
        decompose(trace(module, (image(*first),)), "float32")
        decompose(graph, "float32")
        derived = decompose(graph, dtype)
        patch.setattr(core_aten, "_TEMPLATES", {})
        patch.setattr(core_aten, "_FORMS", {})
        run = decompose(graph, dtype)
    assert (derived.ops, derived.tensors, derived.storages) == (run.ops, run.tensors, run.storages)
