"""Numbers that float16 does not hold: refused where PyTorch and ExecuTorch themselves refuse them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgebudget.dtypes import DTYPES
from edgebudget.runtimes import RUNTIMES
from edgebudget.runtimes.interface import MemoryLayout, Unsupported
from edgebudget.target import Target
from edgebudget.tracing import trace

FORWARDS: dict[str, Callable[[Tensor], Tensor]] = {
    "masked_fill": lambda x: x.masked_fill(x > 0, -1e9),
    "masked_fill with a whole number": lambda x: x.masked_fill(x > 0, -(10**9)),
    "full_like": lambda x: torch.full_like(x, 1e9) + x,
    "new_full": lambda x: x.new_full((4,), 1e9) + x,
    "clamp": lambda x: x.clamp(max=1e9),
    "pad": lambda x: functional.pad(x, (1, 1), value=1e9),
    "hardtanh": lambda x: functional.hardtanh(x, -1e9, 1e9),
    "relu6": functional.relu6,
    "the last number": lambda x: x.masked_fill(x > 0, 65504.0),
    "infinity": lambda x: x.masked_fill(x > 0, float("-inf")),
    "the least number of its type": lambda x: x.masked_fill(x > 0, torch.finfo(x.dtype).min),
    "a product": lambda x: x * 1e9,
    "a sum": lambda x: x + 1e9,
    "a comparison": lambda x: x > 1e9,
    "whole numbers": lambda x: x.argmax(-1).clamp(max=10**9),
}
X = torch.linspace(-1, 1, 8).reshape(2, 4)


class Model(nn.Module):
    def __init__(self, forward: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def lay_out(name: str, runtime: str, dtype: str) -> MemoryLayout | Unsupported:
    graph = trace(Model(FORWARDS[name]), (X,))
    target = Target(isa="armv8.2-a", cores=("cortex-a76",))
    return RUNTIMES.get(runtime).lay_out(graph, DTYPES.get(dtype), target)


def runs_in_pytorch(name: str) -> bool:
    try:
        FORWARDS[name](X.half())
    except RuntimeError:
        return False
    return True


@pytest.mark.parametrize("runtime", ["pytorch", "executorch", "executorch-xnnpack"])
@pytest.mark.parametrize("name", FORWARDS)
def test_a_number_that_float16_does_not_hold_is_refused(name: str, runtime: str) -> None:
    layout = lay_out(name, runtime, "float16")
    assert isinstance(layout, MemoryLayout if runs_in_pytorch(name) else Unsupported), layout
    if isinstance(layout, Unsupported):
        assert "In float16 the model does not run: aten." in layout.reason
    assert isinstance(lay_out(name, runtime, "float32"), MemoryLayout)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORWARDS)
def test_executorch_refuses_the_same(name: str) -> None:
    exir = pytest.importorskip("executorch.exir")
    bindings = pytest.importorskip("executorch.extension.pybindings.portable_lib")
    program = exir.to_edge(torch.export.export(Model(FORWARDS[name]), (X.half(),))).to_executorch()
    module = bindings._load_for_executorch_from_buffer(program.buffer)
    if runs_in_pytorch(name):
        assert module.run_method("forward", (X.half(),))
    else:
        with pytest.raises(RuntimeError, match="Failed to execute"):
            module.run_method("forward", (X.half(),))
