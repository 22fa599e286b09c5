"""Layers and habits that a trace must get right: recurrence, attention, sparse tensors, constants, cached state."""

import copy
import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrizations
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from edgebudget.graph import Role, TracedGraph
from edgebudget.tracing import trace
from tests.traces import Forward, activation_curve, activation_peak, names, role_bytes

X = torch.empty(2, 8, device="meta")


def shape_of(graph: TracedGraph, position: int = 0) -> tuple[int, ...]:
    return graph.tensors[graph.outputs[position]].shape


# ---- recurrence and attention


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("layer", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers(layer: type[nn.RNNBase], gates: int, bidirectional: bool) -> None:
    x = torch.empty(7, 2, 8, device="meta")
    graph = trace(layer(8, 6, num_layers=2, bidirectional=bidirectional), (x,))
    ways = 2 if bidirectional else 1
    # a layer and direction: input and hidden weights, two biases, each for all gates; layer 2 reads both directions
    weights = ways * gates * 6 * ((8 + 6 + 2) + (6 * ways + 6 + 2))
    assert graph.parameter_numel == weights
    assert list(graph.of_role(Role.CONSTANT)) == []
    assert shape_of(graph) == (7, 2, 6 * ways)
    assert shape_of(graph, 1) == (2 * ways, 2, 6)
    assert len(graph.outputs) == (3 if layer is nn.LSTM else 2)


def test_lstm_with_given_states_and_cells() -> None:
    x, h = torch.empty(7, 2, 8, device="meta"), torch.empty(1, 2, 6, device="meta")
    graph = trace(nn.LSTM(8, 6), (x, (h, h)))
    assert names(graph) == ["lstm"]
    assert role_bytes(graph)["activation"] == (7 * 2 * 6 + 2 * 2 * 6) * 4
    assert shape_of(trace(nn.LSTMCell(8, 6), (X,))) == (2, 6)
    assert shape_of(trace(nn.GRUCell(8, 6), (X,))) == (2, 6)


def test_multi_head_attention() -> None:
    x = torch.empty(2, 5, 16, device="meta")
    layer = nn.MultiheadAttention(16, 4, batch_first=True)
    graph = trace(layer, (x, x, x))
    assert graph.parameter_numel == sum(p.numel() for p in layer.parameters())
    assert shape_of(graph) == (2, 5, 16)
    assert shape_of(graph, 1) == (2, 5, 5)
    assert "scaled_dot_product_attention" in names(trace(layer, (x, x, x), {"need_weights": False}))


def test_transformer_encoder_layer() -> None:
    x = torch.empty(2, 5, 16, device="meta")
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    graph = trace(layer, (x,))
    assert graph.parameter_numel == sum(p.numel() for p in layer.parameters())
    assert shape_of(graph) == (2, 5, 16)
    assert {op.module for op in graph.ops} >= {"self_attn", "linear1", "norm1", ""}


def test_whole_transformer_with_a_mask() -> None:
    x = torch.empty(2, 5, 16, device="meta")
    model = nn.Transformer(16, 4, 1, 1, 32, batch_first=True)
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    graph = trace(model, (x, x), {"tgt_mask": mask, "tgt_is_causal": False})
    assert shape_of(graph) == (2, 5, 16)
    assert graph.parameter_numel == sum(p.numel() for p in model.parameters())


def test_scaled_dot_product_attention_lies_as_the_flash_kernel_leaves_it() -> None:
    q = torch.empty(2, 5, 3, 4, device="meta").transpose(1, 2)  # as a projection of [batch, sequence, dim] gives it
    graph = trace(Forward(lambda self, q: F.scaled_dot_product_attention(q, q, q)), (q,))
    # [batch, sequence, heads, dim] in memory, as the query: heads are 4 apart, positions 12
    assert graph.tensors[graph.outputs[0]].stride == (60, 4, 12, 1)
    merged = trace(
        Forward(lambda self, q: F.scaled_dot_product_attention(q, q, q).transpose(1, 2).reshape(2, 5, 12)), (q,)
    )
    assert role_bytes(merged)["activation"] == 2 * 3 * 5 * 4 * 4  # so that merging the heads copies nothing


def test_scaled_dot_product_attention_without_flash_is_contiguous() -> None:
    q, narrow = torch.empty(2, 3, 5, 4, device="meta"), torch.empty(2, 3, 5, 2, device="meta")
    graph = trace(Forward(lambda self, q, v: F.scaled_dot_product_attention(q, q, v)), (q, narrow))
    assert graph.tensors[graph.outputs[0]].stride == (30, 10, 2, 1)


def test_real_scaled_dot_product_attention_has_the_strides_we_say() -> None:
    apart = torch.randn(2, 3, 5, 4)
    interleaved = torch.randn(2, 5, 3, 4).transpose(1, 2)
    model = Forward(lambda self, q, k, v, m: F.scaled_dot_product_attention(q, k, v, attn_mask=m))
    for query, key, value, mask in itertools.product(
        (apart, interleaved, torch.randn(5, 2, 3, 4).permute(1, 2, 0, 3)),
        (apart, interleaved, torch.randn(2, 3, 7, 4)[:, :, :5], torch.randn(2, 3, 4, 5).transpose(2, 3)),
        (apart, apart[..., :2]),
        (None, torch.ones(5, 5, dtype=torch.bool), torch.randn(2, 3, 5, 5)),
    ):
        graph = trace(model, (query, key, value, mask))
        with torch.inference_mode():
            assert graph.tensors[graph.outputs[0]].stride == model(query, key, value, mask).stride()


# ---- sparse


def compact(sparse: torch.Tensor) -> torch.Tensor:
    """Return `sparse` with storages no larger than its parts: conversions from dense leave larger ones behind."""
    return sparse.clone()


def matrix() -> torch.Tensor:
    """Return an 8x8 matrix with two 2x2 blocks of ones: 8 values."""
    dense = torch.zeros(8, 8)
    dense[:2, :2] = dense[4:6, 6:] = 1.0
    return dense


SPARSE = {
    # COO: 2 x 8 int64 indices and 8 float32
    "coo": (lambda dense: dense.to_sparse(), 2 * 8 * 8 + 8 * 4),
    # CSR: 9 row pointers, 8 columns, 8 values; CSC the same by columns
    "csr": (lambda dense: compact(dense.to_sparse_csr()), 9 * 8 + 8 * 8 + 8 * 4),
    "csc": (lambda dense: compact(dense.to_sparse_csc()), 9 * 8 + 8 * 8 + 8 * 4),
    # BSR in blocks of 2x2: 5 row pointers, 2 block columns, 2 blocks of 4 values; BSC the same by columns
    "bsr": (lambda dense: compact(dense.to_sparse_bsr((2, 2))), 5 * 8 + 2 * 8 + 8 * 4),
    "bsc": (lambda dense: compact(dense.to_sparse_bsc((2, 2))), 5 * 8 + 2 * 8 + 8 * 4),
}


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("layout", SPARSE)
def test_sparse_weights_and_inputs(layout: str) -> None:
    make, nbytes = SPARSE[layout]
    model = Forward(lambda self, x: self.weight.to_dense() + x)
    model.weight = nn.Parameter(make(matrix()), requires_grad=False)
    graph = trace(model, (torch.empty(8, 8, device="meta"),))
    assert role_bytes(graph)["parameter"] == nbytes
    assert len(graph.parameters["weight"]) == (2 if layout == "coo" else 3)
    given = trace(Forward(lambda self, w, x: w.to_dense() + x), (make(matrix()), torch.empty(8, 8)))
    assert role_bytes(given)["input"] == nbytes + 8 * 8 * 4
    assert len(given.inputs) == len(graph.parameters["weight"]) + 1


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("layout", ["coo", "csr", "csc", "bsr"])
def test_sparse_products(layout: str) -> None:
    make, nbytes = SPARSE[layout]
    model = Forward(lambda self, x: torch.sparse.mm(self.weight, x).relu())
    model.register_buffer("weight", make(matrix()))
    graph = trace(model, (torch.empty(8, 3, device="meta"),))
    assert role_bytes(graph) == {"buffer": nbytes, "input": 8 * 3 * 4, "activation": 2 * 8 * 3 * 4}
    assert names(graph) == ["_sparse_mm", "relu"]
    assert model.weight.layout == make(matrix()).layout


def test_a_sparse_product_with_a_huge_dense_tensor_is_not_computed() -> None:
    from edgebudget.errors import TraceError

    model = Forward(lambda self, x: torch.sparse.mm(self.weight, x), weight=matrix().to_sparse())
    with pytest.raises(TraceError, match="sparse tensor and one of more than"):
        trace(model, (torch.empty(8, 2**24, device="meta"),))


# ---- tensors from elsewhere


@pytest.mark.parametrize(
    "attributes",
    [
        {"held": torch.ones(8)},
        {"held": [torch.ones(8)]},
        {"held": {"a": torch.ones(8)}},
        {"held": (torch.ones(8),)},
    ],
    ids=["attribute", "list", "dict", "tuple"],
)
def test_constants_that_the_model_holds(attributes: dict[str, object]) -> None:
    def forward(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        (held,) = tree_leaves(self.held)
        return x * held

    graph = trace(Forward(forward, **attributes), (X,))
    assert role_bytes(graph) == {"input": 64, "constant": 32, "activation": 64}
    (constant,) = graph.of_role(Role.CONSTANT)
    assert (constant.born, constant.dies) == (-1, len(graph.ops))


def test_a_constant_captured_by_a_closure() -> None:
    captured = torch.ones(8)
    assert role_bytes(trace(Forward(lambda self, x: x * captured), (X,)))["constant"] == 32


def test_what_numpy_makes_in_the_forward_lives_from_its_first_use() -> None:
    def forward(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        x = x.relu().sigmoid()
        x = x * torch.from_numpy(np.ones(8, dtype=np.float32))
        return x.tanh()

    graph = trace(Forward(forward), (X,))
    assert activation_curve(graph) == [64, 128, 64 + 64 + 32, 128]
    assert "constant" not in role_bytes(graph)


@pytest.mark.parametrize(
    ("make", "nbytes"),
    [
        (lambda: torch.arange(8), 64),
        (lambda: torch.full((8,), 2.0), 32),
        (lambda: torch.ones(2, 8).tril(), 64),
        (lambda: torch.tensor([1.0] * 8), 32),
        (lambda: torch.linspace(0, 1, 8), 32),
        (lambda: torch.randn(8), 32),
    ],
    ids=["arange", "full", "tril", "tensor", "linspace", "randn"],
)
def test_tensors_made_in_the_forward(make: object, nbytes: int) -> None:
    graph = trace(Forward(lambda self, x: x * make()), (X,))
    made = graph.storage_of(graph.ops[-1].inputs[1])
    assert (made.role, made.nbytes) == (Role.ACTIVATION, nbytes)
    assert role_bytes(graph).get("constant") is None


GIB = 2**30


@pytest.mark.parametrize(
    ("make", "nbytes"),
    [
        (lambda x: torch.arange(2**34), 8 * 2**34),
        (lambda x: torch.arange(0.0, 2**34, 1.0), 4 * 2**34),
        (lambda x: torch.full((2**17, 2**17), 1.0), 4 * 2**34),
        (lambda x: torch.ones(2**17, 2**17, device=x.device).triu(), 4 * 2**34),
        (lambda x: torch.eye(2**17), 4 * 2**34),
        (lambda x: torch.linspace(0, 1, 2**34), 4 * 2**34),
        (lambda x: torch.arange(2**15)[:, None] < torch.arange(2**15), 2**30),
        (lambda x: torch.arange(2**10)[:, None].expand(2**10, 2**20).reshape(-1), 8 * 2**30),
        (lambda x: torch.arange(2**10).repeat(2**20), 8 * 2**30),
        (lambda x: torch.outer(torch.ones(2**15), torch.ones(2**15)), 4 * 2**30),
    ],
    ids=["arange", "steps", "full", "triu", "eye", "linspace", "mask", "expanded", "repeat", "outer"],
)
def test_large_tensors_are_counted_and_never_made(make: object, nbytes: int) -> None:
    graph = trace(Forward(lambda self, x: make(x).sum() + x), (X,))
    assert nbytes in {storage.nbytes for storage in graph.of_role(Role.ACTIVATION)}


def test_small_tensors_keep_their_values() -> None:
    def forward(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        counts = torch.arange(5) * 2
        mask = torch.tensor([True, False, True])
        for _ in range(int(counts[2])):  # 4
            x = x.relu()
        x = x * counts.tolist()[1] * float(np.asarray(counts)[3]) * counts[mask.nonzero()[1, 0]]
        return x if counts.sum() == 20 and f"{counts[1]:d}" == "2" else x.sigmoid()

    assert names(trace(Forward(forward), (X,))).count("relu") == 4


def test_random_state_is_not_needed_for_the_shape() -> None:
    graph = trace(Forward(lambda self, x: x + torch.randn_like(x)), (X,))
    assert activation_curve(graph) == [64, 128]


# ---- data, detach, devices, checkpoint, DataParallel, compile, parametrizations


def test_data_and_detach_are_views() -> None:
    graph = trace(Forward(lambda self, x: x.relu().data.detach().sigmoid()), (X,))
    assert activation_peak(graph) == 128


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoint_runs_its_function(reentrant: bool) -> None:
    model = Forward(lambda self, x: checkpoint(self.children_[0], x, use_reentrant=reentrant), nn.Linear(8, 8))
    ops = [op for op in trace(model, (X,)).ops if op.inputs]  # some versions of torch make empty tensors around it
    assert [(op.name, op.module) for op in ops] == [("linear", "children_.0")]


def test_data_parallel_is_the_module_it_wraps() -> None:
    graph = trace(nn.DataParallel(nn.Linear(8, 8)), (X,))
    assert [(op.name, op.module) for op in graph.ops] == [("linear", "module")]


def test_a_compiled_module_is_traced_as_the_module_it_came_from() -> None:
    graph = trace(torch.compile(nn.Sequential(nn.Linear(8, 8), nn.ReLU())), (X,))
    assert [(op.name, op.module) for op in graph.ops] == [("linear", "_orig_mod.0"), ("relu", "_orig_mod.1")]


def test_parametrized_modules() -> None:
    layer = parametrizations.weight_norm(nn.Linear(8, 4))
    graph = trace(layer, (X,))
    assert graph.parameter_numel == 4 + 32 + 4  # magnitudes, directions, bias
    assert activation_peak(graph) == 32 * 4 + 8 * 4  # the weight is made anew, beside the output
    assert layer.weight.device.type == "cpu"


def test_dataclasses_go_in_and_come_out() -> None:
    @dataclasses.dataclass(frozen=True)
    class Pair:
        left: torch.Tensor
        right: object = None

    graph = trace(Forward(lambda self, pair: Pair(pair.left + pair.right[0], {"a": pair.left.relu()})), (Pair(X, [X]),))
    assert len(graph.inputs) == 2
    assert [graph.tensors[t].shape for t in graph.outputs] == [(2, 8), (2, 8)]
    assert "constant" not in role_bytes(graph)


def test_outputs_in_a_mapping_of_the_users() -> None:
    from collections import UserDict

    graph = trace(Forward(lambda self, x: UserDict(out=x.relu())), (X,))
    assert shape_of(graph) == (2, 8)


# ---- the model is left as it was


class Cache(nn.Module):
    """A module that keeps what it sees on itself, in every way a module can."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.register_buffer("running", torch.zeros(8))
        self.seen: list[torch.Tensor] = []
        self.by_name: dict[str, torch.Tensor] = {"old": torch.ones(1)}
        self.kinds: set[str] = set()
        self.last: torch.Tensor | None = None
        self.counter = torch.zeros(3)
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.linear(x)
        self.last = x
        self.seen.append(x)
        self.by_name["x"] = x
        self.by_name["old"].add_(1)
        self.kinds.add("x")
        self.counter += 1
        self.calls += 1
        self.running = self.running * 0.9 + x.mean(0)
        self.running.mul_(2)
        self.register_buffer("extra", x.detach())
        self.extra_layer = nn.Identity()
        return x


def test_the_model_is_left_exactly_as_it_was() -> None:
    model = Cache().train()
    model.linear.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    objects = {name: (id(p), p.data_ptr()) for name, p in (*model.named_parameters(), *model.named_buffers())}
    attributes = [dict(module.__dict__) for module in model.modules()]
    counter, seen, by_name = model.counter, model.seen, model.by_name
    trace(model, (X,))
    assert [list(module.__dict__) for module in model.modules()] == [list(own) for own in attributes]
    assert [m.training for m in model.modules()] == [True, False]
    assert {name: (id(p), p.data_ptr()) for name, p in (*model.named_parameters(), *model.named_buffers())} == objects
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert (model.counter is counter, model.seen is seen, model.by_name is by_name) == (True, True, True)
    assert (seen, list(by_name), model.kinds, model.last, model.calls) == ([], ["old"], set(), None, 0)
    assert by_name["old"].item() == 1
    assert counter.tolist() == [0, 0, 0]
    assert vars(counter) == {}
    assert list(model._modules) == ["linear"]
    assert model(torch.randn(2, 8)).shape == (2, 8)  # and it still runs


def test_a_failing_forward_leaves_the_model_as_it_was_too() -> None:
    from edgebudget.errors import TraceError

    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(5, 5)).train()
    weight = model[0].weight
    with pytest.raises(TraceError):
        trace(model, (X,))
    assert model[0].weight is weight
    assert model.training
    assert nn.Module.__call__.__name__ != "traced_call"
    assert torch.arange(2).tolist() == [0, 1]
    assert "tolist" not in vars(torch.Tensor)


def test_a_model_in_training_is_traced_in_evaluation() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout()).train()
    assert names(trace(model, (X,))) == ["linear", "batch_norm"]
    assert model.training
    assert model[2].training


# ---- sameness


def same(one: TracedGraph, other: TracedGraph) -> bool:
    fields = [field.name for field in dataclasses.fields(TracedGraph)]
    return [getattr(one, name) for name in fields] == [getattr(other, name) for name in fields]


MODELS = {
    "linear": lambda: nn.Sequential(nn.Linear(8, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)),
    "lstm": lambda: nn.LSTM(8, 6, batch_first=True),
    "attention": lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
    "cached": Cache,
}


@pytest.mark.parametrize("name", MODELS)
def test_real_and_meta_weights_and_inputs_give_the_same_graph(name: str) -> None:
    model = MODELS[name]()
    x = torch.randn(2, 3, 8)
    on_cpu = trace(model, (x,))
    on_meta = trace(copy.deepcopy(model).to("meta"), (x.to("meta"),))
    assert same(on_cpu, on_meta)


@pytest.mark.parametrize("name", MODELS)
def test_a_second_trace_equals_the_first(name: str) -> None:
    model = MODELS[name]()
    x = torch.empty(2, 3, 8, device="meta")
    first = trace(model, (x,))
    assert same(first, trace(model, (x,)))
    assert same(first, trace(model.eval(), (x,)))


def test_rules_know_the_default_dtype() -> None:
    model, counts = Forward(lambda self, x: x * 0.5), torch.empty(4, dtype=torch.int64, device="meta")
    assert trace(model, (counts,)).tensors[-1].dtype == "float32"
    torch.set_default_dtype(torch.float64)
    try:
        assert trace(model, (counts,)).tensors[-1].dtype == "float64"
    finally:
        torch.set_default_dtype(torch.float32)
    assert trace(model, (counts,)).tensors[-1].dtype == "float32"


def test_rules_know_true_from_one_from_one_point_zero() -> None:
    counts = torch.empty(4, dtype=torch.int64, device="meta")
    model = Forward(lambda self, x, factor: x * factor)
    kinds = [trace(model, (counts, factor)).tensors[-1].dtype for factor in (1, 1.0, True, 1 + 0j, 1)]
    assert kinds == ["int64", "float32", "int64", "complex64", "int64"]


def test_rules_know_strides() -> None:
    model = Forward(lambda self, x: x.reshape(-1))
    square = torch.empty(4, 4, device="meta")
    assert role_bytes(trace(model, (square,))).get("activation") is None
    assert role_bytes(trace(model, (square.t(),)))["activation"] == 64
