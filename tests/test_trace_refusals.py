"""What a trace cannot follow is refused, with the module, the operator and a remedy."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from edgebudget.errors import DataDependentError, TraceError
from edgebudget.graph import Role
from edgebudget.tracing import trace
from tests.traces import Forward, names

X = torch.empty(2, 8, device="meta")


def sequence_of(function: Callable[..., object]) -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.Sequential(nn.ReLU(), Forward(function)))


READS = {
    "if": (lambda self, x: x if x.sum() > 0 else -x, "aten.is_nonzero.default"),
    "while": (lambda self, x: [x := x / 2 for _ in range(3) if bool((x > 0).all())], "aten.is_nonzero.default"),
    "assert": (lambda self, x: exec("assert (x > 0).any()"), "aten.is_nonzero.default"),
    "item": (lambda self, x: x * x.sum().item(), "aten.item.default"),
    "tolist": (lambda self, x: x.sum().tolist(), "Tensor.tolist"),
    "int": (lambda self, x: x * int(x[0, 0]), "aten.item.default"),
    "float": (lambda self, x: x * float(x[0, 0]), "aten.item.default"),
    "format": (lambda self, x: f"{x[0, 0]:.2f}", "Tensor.__format__"),
    "slice": (lambda self, x: x[:, : int(x[0, 0])], "aten.item.default"),
    "range": (lambda self, x: list(range(x[0, 0].long())), "aten.item.default"),
    "nonzero": (lambda self, x: x.nonzero(), "aten.nonzero.default"),
    "where": (lambda self, x: torch.where(x > 0), "aten.where.default"),
    "mask": (lambda self, x: x[x > 0], "aten.index.Tensor"),
    "byte mask": (lambda self, x: x[(x > 0).to(torch.uint8)], "aten.index.Tensor"),
    "masked_select": (lambda self, x: x.masked_select(x > 0), "aten.masked_select.default"),
    "unique": (lambda self, x: x.unique(), "aten._unique2.default"),
    "bincount": (lambda self, x: x.flatten().long().bincount(), "aten.bincount.default"),
    "repeat": (lambda self, x: x.flatten().repeat_interleave(x.flatten().long()), "aten.repeat_interleave.self_Tensor"),
    "numpy": (lambda self, x: x.numpy(), "Tensor.numpy"),
    "asarray": (lambda self, x: np.asarray(x), "Tensor.__array__"),
    "from numpy": (lambda self, x: torch.from_numpy(np.sqrt(x.numpy())), "Tensor.numpy"),
    "equal": (lambda self, x: torch.equal(x, x + 1), "aten.equal.default"),
    "in": (lambda self, x: 3.0 in x, "aten.item.default"),
    "to_sparse": (lambda self, x: x.to_sparse(), "aten.to_sparse.default"),
    "to_sparse_csr": (lambda self, x: x.to_sparse_csr(), "aten.to_sparse_csr.default"),
    "weight": (lambda self, x: x * self.scale.item(), "aten.item.default"),
    "written": (lambda self, x: torch.zeros(3).index_fill_(0, torch.tensor(1), x.sum()).tolist(), "Tensor.tolist"),
    "written item": (lambda self, x: int(torch.zeros(3).add_(x.sum())[0]), "aten.item.default"),
    "swallowed": (lambda self, x: swallow(lambda: x.sum().item()), "aten.item.default"),
}


def swallow(function: Callable[[], object]) -> object:
    try:
        return function()
    except Exception:
        return None


@pytest.mark.parametrize("case", READS)
def test_a_forward_that_reads_values(case: str) -> None:
    function, target = READS[case]
    model = sequence_of(function)
    model[1][1].scale = nn.Parameter(torch.ones(()))
    with pytest.raises(DataDependentError) as caught:
        trace(model, (X,), name="reader")
    assert caught.value.message == (
        "reader: module '1.1' (Forward) reads the values of a tensor at "
        f"{target}, and a trace without weights has none."
    )
    assert "out of the forward" in caught.value.hint
    assert caught.value.exit_code == 2


def test_the_model_itself_is_named_where_no_submodule_is_to_blame() -> None:
    with pytest.raises(DataDependentError, match=r"^Forward: its forward \(Forward\) reads the values"):
        trace(Forward(lambda self, x: x.sum().item()), (X,))


def test_truncation_keeps_the_part_before() -> None:
    model = sequence_of(lambda self, x: x[x > 0])
    graph = trace(model, (X,), allow_truncation=True)
    assert names(graph) == ["linear", "relu", "gt"]
    assert (graph.truncation.module, graph.truncation.target) == ("1.1", "aten.index.Tensor")
    assert graph.truncation.reason == "depends on the values of tensors"
    assert graph.outputs == ()
    assert all(storage.dies < len(graph.ops) for storage in graph.of_role(Role.ACTIVATION))


def test_printing_a_tensor_reads_nothing() -> None:
    assert names(trace(Forward(lambda self, x: (f"{x}", str(x), repr(x)) and x.relu()), (X,))) == ["relu"]


@pytest.mark.parametrize(
    ("model", "x", "message"),
    [
        (nn.Sequential(nn.Linear(8, 4), nn.Linear(5, 5)), X, r"module '1' \(Linear\) failed at or after aten\.linear"),
        (nn.Conv2d(3, 4, 3), torch.empty(1, 3, 2, 2), r"its forward \(Conv2d\) failed at or after aten\.conv2d"),
        (nn.LayerNorm(5), X, r"aten\.layer_norm"),
        (Forward(lambda self, x: self.missing), X, "AttributeError"),
        (Forward(lambda self: None), X, "TypeError"),
        (Forward(lambda self, x: 1 / 0), X, "its first operator: ZeroDivisionError"),
    ],
    ids=["linear", "conv", "layer_norm", "attribute", "arguments", "arithmetic"],
)
def test_a_forward_that_fails(model: nn.Module, x: torch.Tensor, message: str) -> None:
    with pytest.raises(TraceError, match=message) as caught:
        trace(model, (x,))
    assert "--input" in caught.value.hint
    assert "\n" not in str(caught.value)


def test_a_failure_that_the_model_catches_moves_no_operator() -> None:
    def forward(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        swallow(lambda: self.children_[0](x))
        return x.relu()

    graph = trace(nn.Sequential(Forward(forward, nn.Sequential(nn.Linear(5, 5)))), (X,))
    assert [(op.name, op.module) for op in graph.ops] == [("relu", "0")]


REFUSED = {
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(3)), r"module '0' \(LazyLinear\) is lazy", "Run the model once"),
    "scripted": (lambda: torch.jit.script(nn.Linear(8, 8)), "is TorchScript", "torch.export"),
    "jit trace": (lambda: torch.jit.trace(nn.Linear(8, 8), torch.ones(2, 8)), "is TorchScript", "nn.Module"),
    "scripted part": (lambda: nn.Sequential(torch.jit.script(nn.ReLU())), "module '0'", "torch.export"),
    "quantized": (
        lambda: torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(8, 8)), {nn.Linear}),
        r"in module '0' \(Linear\): The operator quantized\.linear_dynamic\.default quantizes in eager mode",
        "--dtype int8",
    ),
    "autocast": (
        lambda: nn.Sequential(Forward(lambda self, x: torch.autocast("cpu")(nn.functional.relu)(x))),
        r"in module '0' \(Forward\): The forward runs under torch\.autocast for the CPU",
        "--dtype",
    ),
    "nested": (
        lambda: Forward(lambda self, x: torch.nested.as_nested_tensor([torch.ones(2), torch.ones(3)]) * 2),
        "nested",
        "dense",
    ),
    "quantizing": (
        lambda: Forward(lambda self, x: torch.quantize_per_tensor(x, 0.1, 0, torch.quint8)),
        r"The operator aten\.quantize_per_tensor\.default quantizes in eager mode",
        "float model",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", REFUSED)
def test_models_that_are_refused(case: str) -> None:
    make, message, hint = REFUSED[case]
    with pytest.raises(TraceError, match=message) as caught:
        trace(make(), (X,))
    assert hint in caught.value.hint


@pytest.mark.filterwarnings("ignore")
def test_quantized_and_nested_inputs_are_refused() -> None:
    quantized = torch.quantize_per_tensor(torch.ones(2, 8), 0.1, 0, torch.quint8)
    with pytest.raises(TraceError, match="A tensor is quantized"):
        trace(nn.ReLU(), (quantized,))
    for layout in (torch.strided, torch.jagged):
        nested = torch.nested.nested_tensor([torch.ones(2, 8), torch.ones(3, 8)], layout=layout)
        with pytest.raises(TraceError, match=r"nested|jagged"):
            trace(nn.ReLU(), (nested,))


def test_autocast_around_a_trace_is_refused_and_autocast_that_does_nothing_is_not() -> None:
    with torch.autocast("cpu"), pytest.raises(TraceError, match="autocast"):
        trace(nn.Linear(8, 8), (X,))

    def forward(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", enabled=False):
            return self.children_[0](x)

    assert names(trace(Forward(forward, nn.Linear(8, 8)), (X,))) == ["linear"]
    assert not torch.is_autocast_enabled("cpu")


def test_a_keyboard_interrupt_goes_through_and_the_model_is_put_back() -> None:
    def forward(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt

    model = nn.Sequential(nn.Linear(8, 8), Forward(forward)).train()
    with pytest.raises(KeyboardInterrupt):
        trace(model, (X,))
    assert model.training
    assert model[0].weight.device.type == "cpu"
