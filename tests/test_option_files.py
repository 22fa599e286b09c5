"""Estimated file sizes against files that were really written, and what `.half()` really holds."""

from collections import defaultdict
from functools import cache
from statistics import median

import pytest
import torch
from torch import nn

from edgebudget.dtypes import DTYPES
from edgebudget.estimation import MemoryEstimate, estimate
from edgebudget.graph import TracedGraph
from edgebudget.inputs import parse_input
from edgebudget.runtimes import RUNTIMES
from edgebudget.runtimes.interface import MemoryLayout
from edgebudget.sources import load_model
from edgebudget.target import Target
from edgebudget.tracing import trace
from tests.option_files import OPTIONS, OptionFile, read

X86 = Target(isa="x86-64")
RECORDED: dict[tuple[str, str], list[OptionFile]] = defaultdict(list)
for each in read():
    RECORDED[each.runtime, each.dtype].append(each)


@cache
def traced(model: str, inputs: str) -> TracedGraph:
    loaded = load_model(model, [parse_input(inputs)])
    return trace(loaded.module, loaded.args, loaded.kwargs, name=loaded.name)


def estimated(model: str, inputs: str, dtype: str, runtime: str) -> MemoryEstimate:
    return estimate(traced(model, inputs), dtype=dtype, runtime=runtime, target=X86)


def file_nbytes(each: OptionFile) -> int:
    layout = estimated(each.model, each.inputs, each.dtype, each.runtime).layout
    assert isinstance(layout, MemoryLayout)
    return layout.storage_bytes


@pytest.mark.parametrize(("runtime", "dtype"), OPTIONS)
def test_files_are_as_large_as_those_written(runtime: str, dtype: str) -> None:
    files = RECORDED[runtime, dtype]
    assert len(files) >= 20
    errors = {each.model: abs(file_nbytes(each) / each.nbytes - 1) for each in files}
    assert median(errors.values()) <= 0.01
    assert max(errors.values()) <= 0.03, max(errors, key=lambda model: errors[model])


@pytest.mark.parametrize("model", ["mobilenet_v2", "resnet18", "squeezenet1_1", "mobilenet_v3_small"])
def test_float16_holds_what_half_makes(model: str) -> None:
    halved = load_model(model).module.half()
    real = sum(t.nbytes for t in halved.state_dict().values())
    made = estimated(model, "1x3x224x224:float32", "float16", "pytorch")
    assert made.parameter_bytes + made.buffer_bytes == real


def test_float16_runs_in_what_half_allocates() -> None:
    from edgebudget.measure.workers.pytorch_cpu import allocator_events, peak_of

    model = nn.Sequential(
        nn.Linear(96, 256), nn.ReLU(), nn.Linear(256, 256), nn.Sigmoid(), nn.LayerNorm(256), nn.Linear(256, 40)
    )
    x = torch.randn(3, 5, 96)
    graph = trace(model, (x,))
    layout = RUNTIMES.get("pytorch").lay_out(graph, DTYPES.get("float16"), X86)
    assert isinstance(layout, MemoryLayout)
    halved, small = model.half().eval(), x.half()
    allocator_events(halved, (small,))  # what is loaded once a process
    real = peak_of(allocator_events(halved, (small,)))
    assert layout.activation_bytes + layout.workspace_bytes - small.nbytes == real
