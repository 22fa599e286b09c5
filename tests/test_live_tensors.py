"""What a layout says is alive: it adds up to the timeline, and no two share planned memory at the same time."""

import pytest
import torchvision
from torch import empty

from edgebudget.dtypes import DTYPES
from edgebudget.estimation import estimate
from edgebudget.graph import TracedGraph
from edgebudget.planning import ArenaPlan, Buffer, verify_plan
from edgebudget.runtimes import RUNTIMES
from edgebudget.runtimes.interface import MemoryLayout
from edgebudget.tracing import trace

PLANNED = ("executorch", "executorch-xnnpack", "onnxruntime", "tflite-micro")


@pytest.fixture(scope="module")
def graph() -> TracedGraph:
    return trace(torchvision.models.mobilenet_v3_small(), (empty(1, 3, 64, 64, device="meta"),), name="small")


@pytest.fixture(params=[(runtime, dtype) for runtime in RUNTIMES.names() for dtype in DTYPES.names()], ids="-".join)
def layout(request: pytest.FixtureRequest, graph: TracedGraph) -> MemoryLayout:
    runtime, dtype = request.param
    made = estimate(graph, dtype=dtype, runtime=runtime).layout
    if not isinstance(made, MemoryLayout):
        pytest.skip(made.reason)
    return made


def test_live_tensors_add_up_to_the_timeline(layout: MemoryLayout) -> None:
    planned = any(tensor.offset is not None for tensor in layout.tensors)
    for step, (_, nbytes) in enumerate(layout.timeline):
        alive_bytes = sum(tensor.nbytes for tensor in layout.tensors if tensor.first <= step <= tensor.last)
        assert alive_bytes == nbytes if planned else 0 < alive_bytes <= nbytes  # PyTorch's operators take scratch


def test_planned_tensors_are_apart(layout: MemoryLayout) -> None:
    placed = [tensor for tensor in layout.tensors if tensor.offset is not None]
    buffers = tuple(Buffer(i, tensor.nbytes, tensor.first, tensor.last) for i, tensor in enumerate(placed))
    offsets = tuple(tensor.offset or 0 for tensor in placed)
    end = max((tensor.nbytes + offset for tensor, offset in zip(placed, offsets, strict=True)), default=0)
    verify_plan(ArenaPlan(buffers, offsets, end))


@pytest.mark.parametrize("runtime", PLANNED)
def test_planned_runtimes_say_where_tensors_stand(runtime: str, graph: TracedGraph) -> None:
    made = estimate(graph, dtype="float32", runtime=runtime).layout
    assert isinstance(made, MemoryLayout)
    placed = [tensor for tensor in made.tensors if tensor.offset is not None]
    assert len(placed) > len(made.tensors) / 2
    assert len({tensor.offset for tensor in placed}) > 2
