"""What a trace says of tiny models, held against arithmetic by hand. One float32 is 4 bytes."""

import sys

import pytest
import torch
from torch import nn

from edgebudget.estimation import estimate
from edgebudget.graph import Role, TracedGraph
from edgebudget.tracing import trace
from tests.traces import Forward, activation_curve, activation_peak, names, role_bytes

X = torch.empty(2, 8, device="meta")  # 16 elements, 64 bytes


def by_op(graph: TracedGraph) -> dict[str, tuple[int, int]]:
    """Return the lifetime of each operator's first output."""
    return {
        op.name: (graph.storage_of(op.outputs[0]).born, graph.storage_of(op.outputs[0]).dies)
        for op in graph.ops
        if op.outputs
    }


def test_chain_holds_two_at_a_time() -> None:
    graph = trace(nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)), (X,))
    # linear: 2x4 = 32 bytes; relu: 32 more while linear's is read; linear: 2x2 = 16 beside relu's 32.
    assert names(graph) == ["linear", "relu", "linear"]
    assert [op.module for op in graph.ops] == ["0", "1", "2"]
    assert activation_curve(graph) == [32, 64, 48]
    # weights 8x4 + 4 and 4x2 + 2: 46 elements
    assert role_bytes(graph) == {"parameter": 46 * 4, "input": 64, "activation": 32 + 32 + 16}


def test_estimate_of_a_chain_adds_up() -> None:
    graph = trace(nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)), (X,))
    wide = estimate(graph, dtype="float32", runtime="pytorch")
    assert (wide.parameter_numel, wide.parameter_bytes, wide.buffer_bytes) == (46, 184, 0)
    assert wide.layout.activation_bytes == 64 + 64  # the input, 64 bytes, is the caller's and stays
    assert wide.layout.activation_peak_numel == 32
    assert wide.layout.activation_total_bytes == 64 + 80
    assert (wide.layout.peak_op.index, wide.layout.peak_op.module) == (1, "1")
    half = estimate(graph, dtype="float16", runtime="pytorch")
    assert (half.parameter_bytes, half.layout.activation_bytes) == (92, 64)
    # int8: 32 + 8 weights of a byte, 4 + 2 channels of 5 bytes, 4 + 2 biases of 4 bytes
    assert estimate(graph, dtype="int8", runtime="pytorch").parameter_bytes == 40 + 30 + 24


def test_residual_keeps_its_source() -> None:
    first, second = nn.Linear(8, 8), nn.Linear(8, 8)
    block = Forward(lambda self, x: self.children_[1](self.children_[0](x).relu()) + x, first, second)
    graph = trace(Forward(lambda self, x: self.children_[0](x.relu()), block), (X,))
    # relu 64 (kept for the sum); linear 64; relu 64; linear 64; sum 64. While the inner relu runs, the outer relu, the
    # linear it reads and itself are alive: 192. Its source is dropped when it returns.
    assert names(graph) == ["relu", "linear", "relu", "linear", "add"]
    assert activation_curve(graph) == [64, 128, 192, 192, 192]
    assert by_op(graph)["add"] == (4, 5)  # the output outlives the forward


def test_in_place_makes_no_storage() -> None:
    graph = trace(nn.Sequential(nn.Linear(8, 8), nn.ReLU(inplace=True), nn.Linear(8, 8)), (X,))
    assert names(graph) == ["linear", "relu_", "linear"]
    first, second, _ = graph.ops
    assert graph.storage_of(first.outputs[0]) is graph.storage_of(second.outputs[0])
    assert first.outputs != second.outputs  # a new value all the same
    assert activation_curve(graph) == [64, 64, 128]


def test_in_place_on_the_input_writes_to_the_callers_tensor() -> None:
    graph = trace(Forward(lambda self, x: x.relu_()), (X,))
    assert role_bytes(graph) == {"input": 64}
    assert graph.storage_of(graph.outputs[0]).role is Role.INPUT


@pytest.mark.parametrize(
    ("view", "name"),
    [
        (lambda x: x.view(4, 4), "view"),
        (lambda x: x.transpose(0, 1), "transpose"),
        (lambda x: x.reshape(16), "reshape"),
        (lambda x: x[1:], "slice"),
        (lambda x: x.unsqueeze(0), "unsqueeze"),
        (lambda x: x.expand(3, 2, 8), "expand"),
        (lambda x: x.detach(), "detach"),
        (lambda x: x.unfold(1, 4, 2), "unfold"),
        (lambda x: x.view(torch.int32), "view"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_views_take_nothing(view: object, name: str) -> None:
    graph = trace(Forward(lambda self, x: view(x.relu())), (X,))
    assert names(graph)[1] == name
    assert activation_peak(graph) == 64
    made, seen = graph.ops[0].outputs[0], graph.outputs[0]
    assert graph.storage_of(made) is graph.storage_of(seen)
    assert graph.storage_of(seen).dies == len(graph.ops)


def test_offsets_and_strides_of_views() -> None:
    graph = trace(Forward(lambda self, x: x.relu()[1:, 3:].t()), (X,))
    spec = graph.tensors[graph.outputs[0]]
    assert (spec.shape, spec.stride, spec.offset) == ((5, 1), (1, 8), 8 + 3)


def test_reshape_copies_what_it_must() -> None:
    graph = trace(Forward(lambda self, x: x.relu().transpose(0, 1).reshape(16)), (X,))
    assert names(graph) == ["relu", "transpose", "reshape"]
    # The copy is made while its source is alive.
    assert activation_curve(graph) == [64, 64, 128]


def test_split_keeps_the_whole_until_the_last_part_goes() -> None:
    def forward(self: object, x: torch.Tensor) -> torch.Tensor:
        low, high = x.relu().chunk(2, 1)
        return torch.cat([high, low], 1)

    graph = trace(Forward(forward), (X,))
    assert names(graph) == ["relu", "chunk", "cat"]
    assert len(graph.ops[1].outputs) == 2
    assert activation_curve(graph) == [64, 64, 128]


def test_a_variable_that_python_holds_holds_its_memory() -> None:
    def holding(self: object, x: torch.Tensor) -> torch.Tensor:
        a = x.relu()
        b = a.sigmoid()
        return b.tanh()

    def dropping(self: object, x: torch.Tensor) -> torch.Tensor:
        return x.relu().sigmoid().tanh()

    assert activation_curve(trace(Forward(holding), (X,))) == [64, 128, 192]
    assert activation_curve(trace(Forward(dropping), (X,))) == [64, 128, 128]


def test_rebinding_frees_only_after_the_new_value_is_made() -> None:
    def forward(self: object, x: torch.Tensor) -> torch.Tensor:
        x = x.relu()
        x = x.sigmoid()
        return x.tanh()

    assert activation_curve(trace(Forward(forward), (X,))) == [64, 128, 128]


def test_branches_and_cat() -> None:
    def forward(self: object, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x.relu(), x.sigmoid(), x.tanh()], 1)

    graph = trace(Forward(forward), (X,))
    assert activation_curve(graph) == [64, 128, 192, 192 + 192]
    assert len(graph.ops[3].inputs) == 3


def test_tied_weights_count_once() -> None:
    first, second = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
    second.weight = first.weight
    graph = trace(nn.Sequential(first, second), (X,))
    assert graph.parameters == {"0.weight": (0,), "1.weight": (0,)}
    assert role_bytes(graph)["parameter"] == 8 * 8 * 4
    assert graph.parameter_numel == 64


def test_weights_that_view_one_storage_count_once() -> None:
    whole = torch.randn(16, 8)
    first, second = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
    first.weight, second.weight = nn.Parameter(whole[:8]), nn.Parameter(whole[8:])
    graph = trace(nn.Sequential(first, second), (X,))
    assert graph.parameters == {"0.weight": (0,), "1.weight": (0,)}
    assert role_bytes(graph)["parameter"] == whole.nbytes
    offsets = [graph.tensors[op.inputs[1]].offset for op in graph.ops]
    assert offsets == [0, 64]


def test_a_part_of_a_storage_counts_whole() -> None:
    layer = nn.Linear(8, 8, bias=False)
    layer.weight = nn.Parameter(torch.randn(100, 8)[:8])  # 3200 bytes stay allocated for the view of 256
    assert role_bytes(trace(layer, (X,)))["parameter"] == 3200


def test_one_storage_seen_as_two_types_stays_one() -> None:
    raw = torch.zeros(10, dtype=torch.uint8)
    graph = trace(Forward(lambda self, x, y: x + y), (raw[:8].view(torch.float32), raw[8:].view(torch.int16)))
    assert role_bytes(graph) == {"input": 10, "activation": 8}
    assert graph.inputs == (0, 1)


def test_buffers_persistent_or_not() -> None:
    model = Forward(lambda self, x: x + self.kept + self.temporary)
    model.register_buffer("kept", torch.zeros(8))
    model.register_buffer("temporary", torch.zeros(2, 8), persistent=False)
    graph = trace(model, (X,))
    assert role_bytes(graph)["buffer"] == 32 + 64
    assert {s.name: s.persistent for s in graph.of_role(Role.BUFFER)} == {"kept": True, "temporary": False}
    assert graph.buffer_numel == 24


def test_trainable_or_not() -> None:
    layer = nn.Linear(8, 8)
    layer.bias.requires_grad_(False)
    assert {s.name: s.trainable for s in trace(layer, (X,)).of_role(Role.PARAMETER)} == {"weight": True, "bias": False}


def test_integer_inputs() -> None:
    tokens = torch.zeros(3, 5, dtype=torch.int64, device="meta")
    graph = trace(nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 2)), (tokens,))
    assert role_bytes(graph) == {"parameter": (40 + 10) * 4, "input": 15 * 8, "activation": 15 * 4 * 4 + 15 * 2 * 4}
    assert graph.tensors[graph.inputs[0]].dtype == "int64"
    half = estimate(graph, dtype="float16", runtime="pytorch")
    # tokens keep their 8 bytes; 120 + (240 + 120) / 2
    assert half.layout.activation_bytes == 120 + 180


def test_several_inputs_and_outputs_with_kwargs() -> None:
    model = Forward(lambda self, a, pair, *, scale, flag: {"sum": a + pair[0], "rest": [pair[1] * scale, flag]})
    three = torch.empty(3, device="meta")
    graph = trace(model, (X, (X, three)), {"scale": torch.empty(3, device="meta"), "flag": True})
    # X is one tensor given twice: two inputs over one storage
    assert [graph.tensors[t].shape for t in graph.inputs] == [(2, 8), (2, 8), (3,), (3,)]
    assert [graph.tensors[t].storage for t in graph.inputs] == [0, 0, 1, 2]
    assert [graph.tensors[t].shape for t in graph.outputs] == [(2, 8), (3,)]
    assert names(graph) == ["add", "mul"]


def test_a_submodule_called_twice_runs_twice_and_weighs_once() -> None:
    shared = nn.Linear(8, 8)
    graph = trace(nn.Sequential(shared, nn.ReLU(), shared), (X,))
    assert [(op.name, op.module) for op in graph.ops] == [("linear", "0"), ("relu", "1"), ("linear", "0")]
    assert role_bytes(graph)["parameter"] == 72 * 4
    assert set(graph.parameters) == {"0.weight", "0.bias"}


def test_module_paths() -> None:
    inner = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    outer = Forward(lambda self, x: self.children_[0](x) + x, inner)
    graph = trace(nn.ModuleDict({"outer": outer})["outer"], (X,))
    assert [op.module for op in graph.ops] == ["children_.0.0", "children_.0.1", ""]
    assert graph.modules["children_.0.1"] == "ReLU"
    assert graph.labels == ("children_.0.0: linear", "children_.0.1: relu", "add")


def test_hooks_run_and_count() -> None:
    layer = nn.Linear(8, 8)
    layer.register_forward_hook(lambda module, args, out: out.sigmoid())
    assert names(trace(layer, (X,))) == ["linear", "sigmoid"]


def test_arguments_are_kept() -> None:
    graph = trace(nn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3), (torch.empty(1, 3, 8, 8, device="meta"),))
    conv = graph.ops[0]
    assert conv.target == "aten.conv2d.default"
    assert conv.arg(3, "stride") == (2, 2)
    assert conv.arg(6, "groups", 1) == 3
    assert conv.arg(9, "absent", "default") == "default"
    assert graph.producers[conv.outputs[0]] is conv
    assert graph.consumers[conv.inputs[0]] == (conv,)


def test_what_does_nothing_is_no_operator() -> None:
    graph = trace(nn.Sequential(nn.Dropout(), nn.Identity(), nn.ReLU()), (X,))
    assert names(graph) == ["relu"]
    same = trace(Forward(lambda self, x: x.contiguous().to(torch.float32).cpu().to("cpu").relu()), (X,))
    assert names(same) == ["relu"]


def test_casts_copy() -> None:
    graph = trace(Forward(lambda self, x: x.half().double()), (X,))
    assert activation_curve(graph) == [32, 32 + 128]


def test_a_model_without_operators() -> None:
    graph = trace(nn.Identity(), (X,))
    assert graph.ops == ()
    assert graph.outputs == graph.inputs
    layout = estimate(graph, dtype="int8", runtime="pytorch").layout
    assert layout.activation_bytes == 64
    assert layout.peak_op.name == ""


def test_half_precision_and_double() -> None:
    for dtype, size in ((torch.float16, 2), (torch.bfloat16, 2), (torch.float64, 8)):
        graph = trace(nn.Linear(8, 4).to(dtype), (X.to(dtype),))
        assert role_bytes(graph) == {"parameter": 36 * size, "input": 16 * size, "activation": 8 * size}
        wide = estimate(graph, dtype="float32", runtime="pytorch")
        assert wide.parameter_bytes == 36 * 4


def test_control_flow_on_shapes() -> None:
    def forward(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        for _ in range(x.shape[0]):
            x = x.relu()
        return x if x.numel() > 100 else x.sigmoid()

    assert names(trace(Forward(forward), (X,))) == ["relu", "relu", "sigmoid"]


def test_garbage_of_an_operators_first_run_holds_no_activation() -> None:
    runs: list[int] = []

    @torch.library.custom_op("edgebudget_tests::leaves_garbage", mutates_args=())
    def leaves_garbage(x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @leaves_garbage.register_fake
    def shape_of(x: torch.Tensor) -> torch.Tensor:
        if not runs:  # as a failed import does, whose exception is kept with its frames
            cycle: list[object] = [sys._getframe()]
            cycle.append(cycle)
        runs.append(1)
        return torch.empty_like(x)

    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = leaves_garbage(x + 1)
            x = x * 2
            return x - 1

    graph = trace(Model(), (X,))
    assert runs
    assert activation_curve(graph)[2:] == [2 * 64, 2 * 64]
