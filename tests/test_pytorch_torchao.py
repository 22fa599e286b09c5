"""Linear layers quantized by torchao, against its own allocations and what its tensors hold."""

import pytest
import torch
from torch import nn

from edgebudget.dtypes import DTYPES
from edgebudget.estimation import estimate
from edgebudget.runtimes import RUNTIMES
from edgebudget.runtimes.interface import MemoryLayout
from edgebudget.target import Target
from edgebudget.tracing import trace
from tests.traces import Forward

pytest.importorskip("torchao")
X86 = Target(isa="x86-64")
DTYPES_OF_WEIGHTS = ["int8-weight-only", "int8-dynamic", "int4-weight-only"]
SHAPES = [((4, 64), 96), ((1, 256), 512), ((50, 256), 512), ((1, 7, 64), 1024), ((2, 100, 32), 32), ((200, 512), 64)]


def has_vnni() -> bool:
    return bool(torch.cpu._is_vnni_supported()) and not torch.cpu._is_amx_tile_supported()


@pytest.mark.skipif(not has_vnni(), reason="the estimate for x86-64 is of a processor with VNNI and without AMX")
@pytest.mark.parametrize("dtype", DTYPES_OF_WEIGHTS)
@pytest.mark.parametrize(("shape", "features"), SHAPES)
def test_a_layer_allocates_as_estimated(shape: tuple[int, ...], features: int, dtype: str) -> None:
    from edgebudget.measure.torchao import quantize
    from edgebudget.measure.workers.pytorch_cpu import allocator_events, peak_of

    torch.set_num_threads(1)
    model = nn.Sequential(nn.Linear(shape[-1], features)).eval()
    x = torch.randn(shape)
    layout = RUNTIMES.get("pytorch").lay_out(trace(model, (x,)), DTYPES.get(dtype), X86)
    assert isinstance(layout, MemoryLayout)
    quantize(model, dtype)
    allocator_events(model, (x,))  # what is loaded once a process
    real = peak_of(allocator_events(model, (x,)))
    estimated = layout.activation_bytes + layout.workspace_bytes - x.nbytes
    assert estimated == pytest.approx(real, rel=0.001, abs=64)


def real_bytes(module: nn.Module) -> int:
    total = 0
    for tensor in module.state_dict().values():
        parts = tensor.__tensor_flatten__()[0] if hasattr(tensor, "__tensor_flatten__") else []
        total += sum(getattr(tensor, part).nbytes for part in parts) if parts else tensor.nbytes
    return total


@pytest.mark.parametrize("dtype", DTYPES_OF_WEIGHTS)
def test_weights_are_held_as_torchao_holds_them(dtype: str) -> None:
    from edgebudget.measure.torchao import quantize

    encoder = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
    model = nn.Sequential(encoder, nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10, bias=False)).eval()
    made = estimate(trace(model, (torch.zeros(1, 5, 64),)), dtype=dtype, runtime="pytorch", target=X86)
    quantize(model, dtype)  # 48 is no multiple of a group of 32: that layer stays float32
    assert made.parameter_bytes + made.buffer_bytes == real_bytes(model)


def test_a_tied_embedding_is_held_beside_its_quantized_copy() -> None:
    model = Forward(lambda self, i: self.children_[1](self.children_[0](i)), nn.Embedding(50, 32), nn.Linear(32, 50))
    model.children_[1].weight = model.children_[0].weight
    graph = trace(model, (torch.zeros(1, 4, dtype=torch.int64),))
    made = DTYPES.get("int8-weight-only").assign(graph)
    table = graph.storage_of(graph.ops[0].inputs[0])
    assert made[table.id].total_nbytes == 50 * 32 * 4 + 50 * 32 + 50 * 5
