"""The XNNPACK runtime against recorded heaps, and the parts its figures are made of.

Recorded with ExecuTorch 1.5.1 on x86-64 (AVX-512): a standalone runner, the program file mapped, one thread, an
allocation counter; bytes over what was held before loading, the caller's input not counted.
"""

from collections.abc import Callable
from functools import cache

import pytest

from edgebudget.dtypes import DTYPES
from edgebudget.graph import TracedGraph
from edgebudget.planning.executorch_greedy import executorch_greedy
from edgebudget.runtimes import RUNTIMES
from edgebudget.runtimes._functional import functionalize
from edgebudget.runtimes._xnnpack.edge import EdgeGraph
from edgebudget.runtimes._xnnpack.lowering import hold_values, lower
from edgebudget.runtimes._xnnpack.method import DELEGATE_SLACK_BYTES, Step, planned, steps_of
from edgebudget.runtimes._xnnpack.partition import partition
from edgebudget.runtimes._xnnpack.quantize import quantize
from edgebudget.runtimes.interface import MemoryLayout, Unsupported
from edgebudget.target import Target

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")

from edgebudget.tracing import trace  # noqa: E402

X86 = Target(isa="x86-64")
A72 = Target(isa="armv8-a", cores=("cortex-a72",))


@cache
def traced(name: str) -> TracedGraph:
    with torch.device("meta"):
        module = getattr(torchvision.models, name)(weights=None).eval()
        return trace(module, (torch.empty(1, 3, 224, 224),))


def laid_out(graph: TracedGraph, dtype: str = "float32", target: Target = X86) -> MemoryLayout:
    layout = RUNTIMES.get("executorch-xnnpack").lay_out(graph, DTYPES.get(dtype), target)
    assert isinstance(layout, MemoryLayout)
    return layout


def steps(graph: TracedGraph, dtype: str = "float32") -> tuple[EdgeGraph, list[Step]]:
    functional = functionalize(graph)
    edge = lower(graph, functional)
    partition(edge)
    edge = hold_values(edge, quantize(graph, functional, [dtype] * len(graph.ops)), "float32")
    return edge, steps_of(edge)


# model, dtype: heap at the load peak, heap at the inference peak
RECORDED = {
    ("mobilenet_v2", "float32"): (14_945_632, 22_454_248),
    ("mobilenet_v2", "int8"): (4_541_272, 7_522_176),
    ("resnet18", "float32"): (47_570_944, 57_841_328),
    ("resnet18", "int8"): (12_538_440, 19_791_888),
    ("resnet50", "float32"): (103_259_816, 116_495_464),
    ("resnet50", "int8"): (26_785_032, 34_589_536),
    ("mobilenet_v3_small", "float32"): (11_311_024, 13_786_536),
    ("mobilenet_v3_small", "int8"): (3_810_008, 5_133_640),
    ("efficientnet_b0", "float32"): (22_636_768, 33_740_056),
    ("efficientnet_b0", "int8"): (7_163_248, 18_060_280),
    ("densenet121", "float32"): (35_868_416, 55_248_984),
    ("densenet121", "int8"): (11_852_528, 25_996_144),
    ("convnext_tiny", "float32"): (139_570_432, 151_387_024),
    ("convnext_tiny", "int8"): (74_436_488, 81_719_152),
    ("vit_b_16", "float32"): (354_538_512, 361_141_736),
    ("vit_b_16", "int8"): (95_310_104, 101_753_968),
}


@pytest.mark.parametrize(("name", "dtype"), RECORDED)
def test_heap_at_the_load_and_inference_peaks(name: str, dtype: str) -> None:
    layout = laid_out(traced(name), dtype)
    load, inference = RECORDED[name, dtype]
    assert layout.load_heap_bytes == pytest.approx(load, rel=0.02)
    assert layout.inference_heap_bytes == pytest.approx(inference, rel=0.02)


# The same on a Cortex-A72 under emulation, in MiB to the hundredth; the input (602,112 bytes) is counted there.
@pytest.mark.parametrize(
    ("name", "dtype", "load", "inference"),
    [
        ("mobilenet_v2", "float32", 14.27, 22.01),
        ("mobilenet_v2", "int8", 4.38, 7.80),
        ("resnet18", "float32", 45.37, 55.75),
        ("resnet18", "int8", 11.97, 19.47),
        ("mobilenet_v3_small", "float32", 10.77, 13.71),
        ("mobilenet_v3_small", "int8", 3.67, 5.51),
    ],
)
def test_heap_on_arm(name: str, dtype: str, load: float, inference: float) -> None:
    layout = laid_out(traced(name), dtype, A72)
    assert layout.load_heap_bytes / 2**20 == pytest.approx(load, rel=0.04)
    assert (layout.inference_heap_bytes + 602_112) / 2**20 == pytest.approx(inference, rel=0.04)


# Arena (`non_const_buffer_sizes`), delegates, and calls, as ExecuTorch's own lowering gives them.
@pytest.mark.parametrize(
    ("name", "dtype", "arena", "delegates", "calls"),
    [
        ("mobilenet_v2", "float32", 606_176, 1, 1),
        ("mobilenet_v2", "int8", 606_176, 1, 1),
        ("efficientnet_b0", "int8", 606_176, 1, 1),
        ("mnasnet1_0", "float32", 853_056, 2, 3),
        ("densenet121", "float32", 2_007_104, 5, 9),
        ("densenet121", "int8", 1_806_400, 5, 9),
        ("convnext_tiny", "int8", 3_010_624, 24, 47),
        ("vit_b_16", "float32", 8_009_296, 86, 317),
    ],
)
def test_partitioning_and_the_arena(name: str, dtype: str, arena: int, delegates: int, calls: int) -> None:
    edge, order = steps(traced(name), dtype)
    assert sum(1 for step in order if step.delegate >= 0) == delegates
    assert len(order) == calls
    assert executorch_greedy(planned(edge, order)).nbytes + DELEGATE_SLACK_BYTES == arena


def test_int8_mobilenet_v2_has_the_published_workspace() -> None:
    # 112 * 112 * 96 + 56 * 56 * 96 = 1,505,280, published for int8 MobileNetV2; XNNPACK adds 32 bytes.
    layout = laid_out(traced("mobilenet_v2"), "int8")
    arena = 606_192  # 602,112 + 4,000 + 64, as malloc hands it out
    assert layout.activation_bytes - arena == pytest.approx(1_505_280 + 32, abs=4096 + 64)
    assert layout.activation_bytes - arena >= 1_505_280 + 32


def test_parts_add_up() -> None:
    layout = laid_out(traced("mobilenet_v2"))
    packed = layout.inference_heap_bytes - layout.activation_bytes - layout.workspace_bytes
    parameters = sum(s.nbytes for s in traced("mobilenet_v2").storages if s.role == "parameter")
    assert packed == pytest.approx(parameters, rel=0.02)  # padding in, batch norms folded out
    assert layout.activation_lower_bound_bytes <= layout.activation_bytes
    assert layout.activation_peak_numel * 4 == layout.activation_lower_bound_bytes


def test_the_peak_stands_where_the_widest_block_expands() -> None:
    layout = laid_out(traced("mobilenet_v2"))
    assert layout.peak_op.module.startswith("features.2.conv")
    assert max(nbytes for _, nbytes in layout.timeline) == layout.activation_lower_bound_bytes


def test_the_mapped_file_counts_at_load_and_is_let_go() -> None:
    layout = laid_out(traced("mobilenet_v2"))
    pieces = 1 + 2 * 53  # the delegate's description, weights and biases: each is mapped in whole pages
    assert layout.storage_bytes == pytest.approx(13_994_144, rel=0.005)
    assert layout.load_mapped_bytes == layout.storage_bytes + pieces * (4096 - 128)
    assert layout.inference_mapped_bytes == 0


def test_delegates_map_their_constants_one_after_the_other() -> None:
    # The classifier is a delegate of its own: while it is packed, the pages of the convolutions are gone. Recorded:
    # 25.6 MiB over the idle process, of which 0.7 MiB are code.
    layout = laid_out(traced("mnasnet1_0"))
    assert layout.load_mapped_bytes < 0.7 * layout.storage_bytes
    assert (layout.load_heap_bytes + layout.load_mapped_bytes) / 2**20 == pytest.approx(24.9, rel=0.01)


def test_weights_of_portable_operators_stay_mapped() -> None:
    layout = laid_out(traced("vit_b_16"))
    assert layout.inference_mapped_bytes == 25 * 2 * 768 * 4 + 768 * 4  # layer norms, and the class token
    assert "native_layer_norm" in layout.notes[0]


def test_an_unrolled_lstm_packs_its_weights_once_a_step() -> None:
    class Sequence(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.LSTM(64, 128, batch_first=True)

        def forward(self, steps: "torch.Tensor") -> "torch.Tensor":
            return self.layer(steps)[0]

    layouts = []
    for count in (8, 16):
        with torch.device("meta"):
            layouts.append(laid_out(trace(Sequence().eval(), (torch.empty(1, count, 64),))))
    short, long = layouts
    per_step = 512 * (128 * 4 + 4)  # 4 * 128 gates by 128 and a bias; 512 is a multiple of the tile
    grown = (long.inference_heap_bytes - short.inference_heap_bytes) / 8
    assert per_step < grown < per_step + 30_000  # and a dozen nodes
    assert long.storage_bytes < 1.2 * short.storage_bytes  # one copy in the file


@pytest.mark.parametrize("dtype", ["bfloat16", "int8-weight-only"])
def test_what_is_not_modelled_is_unsupported(dtype: str) -> None:
    layout = RUNTIMES.get("executorch-xnnpack").lay_out(traced("resnet18"), DTYPES.get(dtype), X86)
    assert isinstance(layout, Unsupported)
    assert "take" in layout.reason


def test_float16_needs_half_precision_arithmetic() -> None:
    refused = RUNTIMES.get("executorch-xnnpack").lay_out(traced("mobilenet_v2"), DTYPES.get("float16"), A72)
    assert isinstance(refused, Unsupported)
    assert "half-precision" in refused.reason


def test_float16_as_recorded() -> None:
    layout = laid_out(traced("mobilenet_v2"), "float16")
    assert layout.load_heap_bytes == pytest.approx(7_663_552, rel=0.02)
    assert layout.inference_heap_bytes == pytest.approx(12_462_480 - 301_064, rel=0.02)
    assert layout.storage_bytes == pytest.approx(11_376_208, rel=0.02)  # convolutions keep float32 in the file


def test_operators_nobody_knows_are_named() -> None:
    class Transform(torch.nn.Module):  # type: ignore[misc,name-defined]
        def forward(self, x: "torch.Tensor") -> "torch.Tensor":
            return torch.fft.rfft(x).abs()

    with torch.device("meta"):
        layout = laid_out(trace(Transform(), (torch.empty(1, 64),)))
    assert any("fft" in name for name in layout.unmodelled_ops)


def test_writes_through_views_become_new_values() -> None:
    class Writes(torch.nn.Module):  # type: ignore[misc,name-defined]
        def forward(self, x: "torch.Tensor") -> "torch.Tensor":
            y = x * 2
            y[:, 0] = 0
            z = y.relu_()
            return z + y

    with torch.device("meta"):
        graph = trace(Writes(), (torch.empty(1, 4, 8),))
    functional = functionalize(graph)
    names = [node.name for node in functional.nodes]
    assert "view_scatter" in names
    made: set[int] = set()
    for node in functional.nodes:
        assert not made & set(node.outputs), "a value is made once"
        made.update(node.outputs)
    relu = next(node for node in functional.nodes if node.name == "relu")
    assert functional.nodes[-1].inputs == (relu.outputs[0], relu.outputs[0])


class _Split(torch.nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(4, 8, 1)
        self.activation = torch.nn.ReLU(inplace=inplace)
        self.second = torch.nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: "torch.Tensor") -> "torch.Tensor":
        left, right = torch.split(self.activation(self.first(x)), 4, 1)
        return torch.cat([self.second(left), right], 1)


@pytest.mark.parametrize(("inplace", "delegates"), [(False, 2), (True, 1)])
def test_a_split_of_what_was_written_in_place_stays_in_the_delegate(inplace: bool, delegates: int) -> None:
    # As ExecuTorch's own lowering gives it: the views of a mutated tensor are made anew one by one, as slices.
    with torch.device("meta"):
        _, order = steps(trace(_Split(inplace).eval(), (torch.empty(1, 4, 8, 8),)))
    assert sum(1 for step in order if step.delegate >= 0) == delegates


def test_arithmetic_on_parameters_alone_and_norms_in_training_mode_are_laid_out() -> None:
    class Scaled(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.zeros(8, 1, 1))

        def forward(self, x: "torch.Tensor") -> "torch.Tensor":
            y = torch.nn.functional.batch_norm(x, None, None, training=True)
            return y * torch.clamp(self.scale, max=4.6).exp()

    with torch.device("meta"):
        layout = laid_out(trace(Scaled().eval(), (torch.empty(1, 8, 16, 16),)))
    assert layout.unmodelled_ops == ()
    assert "native_batch_norm" in layout.notes[0]


class Points(torch.nn.Module):  # type: ignore[misc,name-defined]
    """Convolutions over one dimension, used twice: before and after the points are turned."""

    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn
        self.features = nn.Sequential(
            nn.Conv1d(3, 64, 1), nn.BatchNorm1d(64), nn.ReLU(),
            nn.Conv1d(64, 128, 1), nn.BatchNorm1d(128), nn.ReLU(), nn.Conv1d(128, 512, 1),
        )  # fmt: skip
        self.turn = nn.Linear(512, 9)
        self.classify = nn.Linear(512, 40)

    def forward(self, x: "torch.Tensor") -> "torch.Tensor":
        turned = torch.bmm(self.turn(self.features(x).max(-1).values).view(-1, 3, 3), x)
        return self.classify(self.features(turned).amax(-1)).log_softmax(-1)


@pytest.mark.parametrize(
    ("dtype", "load", "inference"), [("float32", 1_882_592, 3_956_944), ("int8", 1_571_000, 4_173_416)]
)
def test_convolutions_over_one_dimension_and_weights_used_twice(dtype: str, load: int, inference: int) -> None:
    """Heaps measured by `edgebudget measure FILE:points --backend executorch-xnnpack`. Of two convolutions with one
    weight the quantizer takes one."""
    layout = laid_out(trace(Points(), (torch.empty(1, 3, 512),)), dtype)
    assert layout.load_heap_bytes == pytest.approx(load, rel=0.02)
    assert layout.inference_heap_bytes == pytest.approx(inference, rel=0.02)


def test_an_operator_without_a_rule_is_taken_apart() -> None:
    """Measured likewise: a bicubic upsampling is sixteen gathers and their weighted sum, in a delegate that a later one
    has put into breadth-first order, where all sixteen products are alive at once."""
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2), nn.Upsample(scale_factor=1.5, mode="bicubic"),
        nn.ReflectionPad2d(2), nn.Hardswish(),
    )  # fmt: skip
    layout = laid_out(trace(model, (torch.empty(1, 3, 32, 32),)))
    assert layout.arena is not None
    assert layout.arena.nbytes + DELEGATE_SLACK_BYTES == 1_898_944
    assert layout.load_heap_bytes == pytest.approx(2_094_496, rel=0.02)
    assert layout.inference_heap_bytes == pytest.approx(4_034_464, rel=0.02)
    assert layout.unmodelled_ops == ()


class _Calls(torch.nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, function: Callable[["torch.Tensor"], "torch.Tensor"]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: "torch.Tensor") -> "torch.Tensor":
        return self.function(x)


def _called(function: Callable[["torch.Tensor"], "torch.Tensor"]) -> TracedGraph:
    with torch.device("meta"):
        return trace(_Calls(function).eval(), (torch.empty(1, 8, 16, 16),))


@pytest.mark.parametrize(
    ("function", "casts"),
    [
        (lambda x: x * 2, True),
        (lambda x: x * 2.0, False),
        (torch.nn.functional.hardsigmoid, True),
        (torch.nn.functional.relu6, False),
        (lambda x: torch.addcmul(x, x, x), True),
        (lambda x: torch.addcmul(x, x, x, value=0.5), False),
    ],
)
def test_whole_numbers_are_cast_by_a_portable_kernel(
    function: Callable[["torch.Tensor"], "torch.Tensor"], casts: bool
) -> None:
    # As ExecuTorch 1.5.1 lowers them: dim_order_ops._to_dim_order_copy stands in the program, or it does not.
    assert steps(_called(function))[0].casts == casts


@pytest.mark.parametrize(("order", "outside"), [(2, ["sum", "pow"]), (2.0, ["pow", "sum", "pow"])])
def test_of_a_norm_only_the_square_by_a_whole_number_is_delegated(order: float, outside: list[str]) -> None:
    _, calls = steps(_called(lambda x: torch.linalg.vector_norm(x, order, (2, 3))))
    assert [step.ops[0].target for step in calls if step.delegate < 0] == outside


# model, dtype: VmHWM over the idle process, at the peaks of loading and of running
PROCESSES_X86 = {
    ("mobilenet_v2", "float32"): (29_868_032, 23_592_960),
    ("mobilenet_v2", "int8"): (9_646_080, 8_675_328),
    ("mobilenet_v3_large", "float32"): (46_092_288, 30_277_632),
    ("mobilenet_v3_large", "int8"): (14_331_904, 10_977_280),
    ("resnet18", "int8"): (25_186_304, 21_098_496),
}
PROCESSES_A72 = {
    ("mobilenet_v2", "float32"): (29_753_344, 23_367_680),
    ("mobilenet_v2", "int8"): (9_613_312, 8_552_448),
    ("mobilenet_v3_large", "float32"): (45_912_064, 29_810_688),
    ("mobilenet_v3_large", "int8"): (14_327_808, 10_645_504),
    ("resnet18", "int8"): (25_108_480, 20_844_544),
}


@pytest.mark.parametrize(
    ("target", "idle", "model", "dtype", "load", "inference"),
    [
        (target, idle, *key, *peaks)
        for target, idle, recorded in ((X86, 5_304_000, PROCESSES_X86), (A72, 4_850_000, PROCESSES_A72))
        for key, peaks in recorded.items()
    ],
)
def test_processes_are_those_recorded(
    target: Target, idle: int, model: str, dtype: str, load: int, inference: int
) -> None:
    # Where the system places libraries moves a peak by 0.1 MB. mobilenet_v3_large casts whole numbers, and in int8 it
    # has tables: half a megabyte of code.
    layout = laid_out(traced(model), dtype, target)
    over_idle = layout.runtime_bytes - idle
    assert layout.load_resident_bytes + over_idle == pytest.approx(load, abs=200_000)
    assert layout.inference_resident_bytes + over_idle == pytest.approx(inference, abs=200_000)


def test_parts_of_an_int8_value_leave_as_floats_where_several_delegates_read_them() -> None:
    # As recorded with deit_tiny_patch16_224: one dequantize node stands before an unbind, in the delegate that made the
    # value, and what the unbind becomes runs in three delegates.
    class Attends(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.qkv = torch.nn.Linear(16, 48)

        def forward(self, x: "torch.Tensor") -> "torch.Tensor":
            q, k, v = self.qkv(x).reshape(1, 8, 3, 1, 16).permute(2, 0, 3, 1, 4).unbind(0)
            return torch.nn.functional.scaled_dot_product_attention(q, k, v)

    with torch.device("meta"):
        _, order = steps(trace(Attends().eval(), (torch.empty(1, 8, 16),)), "int8")
    crossing = [v for step in order for v in step.makes]
    assert sum(step.delegate >= 0 for step in order) > 2
    assert all(v >= 0 for v in crossing)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_transposed_convolution_over_one_pixel_is_no_product(stride: int) -> None:
    # Its dynamic form has the input as int8 in the workspace; a product's has not.
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.ConvTranspose2d(16, 8, 1, stride=stride))
    graph = trace(net.eval(), (torch.zeros(1, 3, 32, 32),))
    tensors = [tensor.name for tensor in laid_out(graph, "int8-dynamic").tensors]
    assert sum("1: convert" in name for name in tensors) == 1


def test_a_dynamic_product_keeps_its_input_until_it_has_run() -> None:
    # By that mobilenetv2_050 has a workspace of 3,211,296 bytes, as recorded, and not of 3,014,592.
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 1), torch.nn.Conv2d(16, 48, 1), torch.nn.Hardswish())
    graph = trace(net.eval(), (torch.zeros(1, 3, 112, 112),))
    held = {tensor.name: (tensor.first, tensor.last) for tensor in laid_out(graph, "int8-dynamic").tensors}
    assert not any("convert" in name for name in held)
    first = next(span for name, span in held.items() if name == "0: convolution")
    second = next(span for name, span in held.items() if name == "1: convolution")
    assert first[1] == second[0]
