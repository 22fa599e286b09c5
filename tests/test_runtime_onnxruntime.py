"""The model of ONNX Runtime: its parts by hand, whole models against what onnxruntime 1.31.1 took."""

from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgebudget.dtypes import DTYPES
from edgebudget.graph import TracedGraph
from edgebudget.planning.verify import verify_plan
from edgebudget.runtimes import RUNTIMES
from edgebudget.runtimes._glibc import Heap
from edgebudget.runtimes._onnxruntime import allocation, quantization
from edgebudget.runtimes._onnxruntime.arena import Arena
from edgebudget.runtimes._onnxruntime.ir import Graph, Window
from edgebudget.runtimes._onnxruntime.kernels import convolution_scratch_nbytes, packed_gemm_nbytes
from edgebudget.runtimes._onnxruntime.load import IDLE_MAPPED_FROM_BYTES, packings
from edgebudget.runtimes._onnxruntime.pages import X86_PAGES
from edgebudget.runtimes._onnxruntime.pipeline import Program, compile_program
from edgebudget.runtimes.interface import MemoryLayout, Unsupported
from edgebudget.runtimes.onnxruntime import STARTS, _process, channel_block
from edgebudget.target import Target
from edgebudget.tracing import trace
from tests.traces import Forward

MIB = 1 << 20
X86 = Target(isa="x86-64")
ARM = Target(isa="armv8-a")

# (model, dtype, load peak, inference peak): heap bytes over an idle process, one thread, three runs, x86-64 with
# AVX-512, weights at random, counted by an interposed malloc (`malloc_usable_size` of what is live). Fresh weights make
# the bias of a folded BatchNorm zero, and the exporter drops it: the model assumes that there is one.
MEASURED_X86 = [
    ("mobilenet_v2", "float32", 30_189_856, 29_328_064),
    ("mobilenet_v2", "int8", 10_035_056, 13_151_904),
    ("resnet18", "float32", 121_540_712, 57_142_528),
    ("resnet18", "int8", 23_592_344, 36_222_536),
    ("mobilenet_v3_small", "float32", 17_337_864, 16_185_688),
    ("mobilenet_v3_small", "int8", 8_576_800, 13_222_624),
    ("mnasnet1_0", "float32", 37_172_208, 28_499_176),
    ("mnasnet1_0", "int8", 10_899_512, 13_155_920),
    ("efficientnet_b0", "float32", 45_854_632, 59_769_240),
    ("densenet121", "float32", 66_750_720, 71_937_104),
    ("googlenet", "float32", 58_921_568, 37_927_040),
    ("convnext_tiny", "float32", 138_924_080, 187_103_000),
    ("swin_t", "float32", 131_181_776, 260_275_640),
    ("vgg11", "float32", 1_365_846_904, 567_734_600),
]
# The same on an emulated Cortex-A72 with the aarch64 wheel, in MiB. There the exporter had dropped biases of zero.
MEASURED_ARM = [("mobilenet_v2", 20.38, 32.01), ("resnet18", 55.20, 54.75)]


MEASURED_WITH_BIASES = [
    ("mobilenet_v2", "float32", 30_393_760, 29_509_264),
    ("mobilenet_v2", "int8", 10_350_040, 13_465_760),
    ("resnet18", "float32", 121_611_232, 57_205_088),
    ("resnet18", "int8", 23_706_680, 36_336_640),
]


@cache
def traced(name: str) -> TracedGraph:
    with torch.device("meta"):
        model = torchvision.models.get_model(name, weights=None).eval()
        return trace(model, (torch.zeros(1, 3, 224, 224),), name=name)


def laid_out(graph: TracedGraph, dtype: str = "float32", target: Target = X86) -> MemoryLayout:
    layout = RUNTIMES.get("onnxruntime").lay_out(graph, DTYPES.get(dtype), target)
    assert isinstance(layout, MemoryLayout)
    return layout


def kinds(program: Program) -> dict[str, int]:
    counts: dict[str, int] = {}
    for node in program.order:
        counts[node.kind] = counts.get(node.kind, 0) + 1
    return counts


# ---- whole models ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "dtype", "load_bytes", "inference_bytes"), MEASURED_X86)
def test_heap_peaks_on_x86_are_those_measured(model: str, dtype: str, load_bytes: int, inference_bytes: int) -> None:
    layout = laid_out(traced(model), dtype)

    assert layout.load_heap_bytes == pytest.approx(load_bytes, rel=0.04)
    assert layout.inference_heap_bytes == pytest.approx(inference_bytes, rel=0.04)
    assert layout.unmodelled_ops == ()


@pytest.mark.parametrize(("model", "dtype", "load_bytes", "inference_bytes"), MEASURED_WITH_BIASES)
def test_with_biases_the_peaks_are_closer(model: str, dtype: str, load_bytes: int, inference_bytes: int) -> None:
    layout = laid_out(traced(model), dtype)

    assert layout.load_heap_bytes == pytest.approx(load_bytes, rel=0.015)
    assert layout.inference_heap_bytes == pytest.approx(inference_bytes, rel=0.015)


@pytest.mark.parametrize(
    ("model", "peak_bytes"),
    [
        ("mobilenet_v2", 25_520_000),
        ("mnasnet1_0", 26_230_000),
        ("resnet18", 41_800_000),
        ("efficientnet_b0", 34_840_000),
    ],
)
def test_int8_processes_on_x86_are_those_measured(model: str, peak_bytes: int) -> None:
    # VmHWM over the idle process, the middle one of five. Without holes between the small blocks that stay,
    # efficientnet_b0 would be 1.4 MB lower; without int8's own code all would be 0.4 MB lower.
    assert laid_out(traced(model), "int8").resident_peak_bytes == pytest.approx(peak_bytes, rel=0.01)


# VmHWM over an idle process, float32 on x86-64, of ten processes that knew the file by names of 1 to 181 characters:
# loading and running, the least and the most. The first two are mixers and a model of 14 equal layers.
PROCESSES = [
    ("mixer 256", 53_100_000, 68_900_000, 54_100_000, 70_900_000),
    ("mixer 640", 83_100_000, 83_200_000, 76_700_000, 76_800_000),
    ("fourteen", 122_000_000, 122_000_000, 122_400_000, 122_400_000),
    ("resnet18", 147_800_000, 169_200_000, 134_900_000, 156_300_000),
]


class _Mixer(nn.Module):
    """MLPs over the patches and over the channels in turn, with a transposition between."""

    def __init__(self, width: int, blocks: int, patches_hidden: int, channels_hidden: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 32, 32)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * blocks))
        self.over_patches = nn.ModuleList(
            nn.Sequential(nn.Linear(49, patches_hidden), nn.GELU(), nn.Linear(patches_hidden, 49))
            for _ in range(blocks)
        )
        self.over_channels = nn.ModuleList(
            nn.Sequential(nn.Linear(width, channels_hidden), nn.GELU(), nn.Linear(channels_hidden, width))
            for _ in range(blocks)
        )
        self.head = nn.Linear(width, 100)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        for index, (patches, channels) in enumerate(zip(self.over_patches, self.over_channels, strict=True)):
            x = x + patches(self.norms[2 * index](x).transpose(1, 2)).transpose(1, 2)
            x = x + channels(self.norms[2 * index + 1](x))
        return self.head(x.mean(1))


class _Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(1000, 1000) for _ in range(14))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)[:, :1000]
        for layer in self.layers:
            x = torch.relu(layer(x))
        return x


def _measured_model(name: str) -> TracedGraph:
    if name == "resnet18":
        return traced(name)
    made = {
        "mixer 256": lambda: _Mixer(256, 12, 128, 1024),
        "mixer 640": lambda: _Mixer(640, 5, 320, 1280),
        "fourteen": _Layers,
    }
    return trace(made[name](), (torch.zeros(1, 3, 224, 224),))


@pytest.mark.parametrize(("model", "load_low", "load_high", "low", "high"), PROCESSES)
def test_processes_of_one_model_lie_between_the_least_and_the_largest(
    model: str, load_low: int, load_high: int, low: int, high: int
) -> None:
    layout = laid_out(_measured_model(model))

    least, most = layout.of_least_process, layout.of_largest_process
    runtime = layout.runtime_bytes
    assert least.load_resident_bytes + runtime <= 1.015 * load_low
    assert least.inference_resident_bytes + runtime <= 1.015 * low
    assert most.load_resident_bytes + runtime >= 0.985 * load_high
    assert most.inference_resident_bytes + runtime >= 0.985 * high
    assert least.resident_peak_bytes <= layout.resident_peak_bytes <= most.resident_peak_bytes
    if load_high > 1.05 * load_low:  # and not further apart than they are
        assert most.resident_peak_bytes - least.resident_peak_bytes < 2 * (load_high - load_low)


@pytest.mark.parametrize(
    ("model", "clusters"),
    [("resnet18", (147_800_000, 168_600_000)), ("resnet34", (248_400_000, 251_000_000, 271_700_000))],
)
def test_processes_differ_by_where_their_heaps_stand(model: str, clusters: tuple[int, ...]) -> None:
    # VmHWM over an idle process of five that knew the file by names of different lengths: each is one of few figures.
    graph = traced(model)
    program = compile_program(graph, 16)
    planned = allocation.plan(program.graph, program.order)
    peaks = [
        max(one.load_resident_bytes + X86_PAGES.after_loading(program), one.inference_resident_bytes)
        for one in (_process(program, planned, Heap(IDLE_MAPPED_FROM_BYTES, start)) for start in STARTS)
    ]
    for cluster in clusters:
        assert any(peak == pytest.approx(cluster, rel=0.01) for peak in peaks)
    for peak in peaks:
        assert any(peak == pytest.approx(cluster, rel=0.01) for cluster in clusters)


def test_the_file_has_parameters_in_the_order_of_the_state_and_buffers_behind_them() -> None:
    # As torch.onnx wrote mobileone_s0 and gernet_s, whatever order they are used in.
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(8)
            self.shortcut = nn.Conv2d(8, 24, 1, bias=False)
            self.first = nn.Conv2d(8, 16, 3, padding=1, bias=False)
            self.second = nn.Conv2d(16, 24, 3, padding=1, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.norm(x))
            return self.second(torch.relu(self.first(x))) + self.shortcut(x)

    program = compile_program(trace(Branches(), (torch.zeros(1, 8, 16, 16),)), 16)

    shapes = [program.graph.values[v].shape for v in program.exported.initializers]
    assert shapes == [(8,), (8,), (24, 8, 1, 1), (16, 8, 3, 3), (24, 16, 3, 3), (8,), (8,)]


def test_pages_of_the_library_go_by_kinds_of_kernels() -> None:
    few = compile_program(trace(nn.Linear(8, 8), (torch.zeros(1, 8),)), 16)
    many = compile_program(traced("mobilenet_v3_large"), 16)

    # RssFile over an idle process: 8.25 MB after three runs of an autoencoder of linear layers, 9.04 of mobilenet_v3.
    assert X86_PAGES.after_runs(few) == pytest.approx(8_250_000, rel=0.03)
    assert X86_PAGES.after_runs(many) == pytest.approx(9_040_000, rel=0.03)
    assert X86_PAGES.after_loading(many) == pytest.approx(7_990_000, rel=0.03)


@pytest.mark.parametrize(("model", "load_mib", "inference_mib"), MEASURED_ARM)
def test_heap_peaks_on_arm_are_those_measured(model: str, load_mib: float, inference_mib: float) -> None:
    layout = laid_out(traced(model), target=ARM)

    assert layout.load_heap_bytes / MIB == pytest.approx(load_mib, rel=0.025)
    assert layout.inference_heap_bytes / MIB == pytest.approx(inference_mib, rel=0.025)


def test_the_load_peak_doubles_on_x86_because_filters_are_copied_into_blocks() -> None:
    on_x86, on_arm = laid_out(traced("resnet18")), laid_out(traced("resnet18"), target=ARM)

    # every filter once more, and three copies of the last 512 x 512 x 3 x 3 one in the making
    last = 512 * 512 * 9 * 4
    filters = sum(s.nbytes for s in traced("resnet18").storages if s.role.is_weight and s.nbytes > 4 * 9408 - 1)
    fully_connected = 1000 * 512 * 4
    copied = filters - fully_connected + 3 * last
    assert on_x86.load_heap_bytes - on_arm.load_heap_bytes == pytest.approx(copied - last, rel=0.02)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("resnet18", {"Conv": 20, "MaxPool": 1, "ReorderOutput": 1, "ReduceMean": 1, "Reshape": 1, "Gemm": 1}),
        (
            "mobilenet_v3_small",
            {
                "Conv": 52, "ReorderOutput": 20, "ReduceMean": 10, "ReorderInput": 18, "Mul": 10, "HardSigmoid": 1,
                "Reshape": 1, "Gemm": 2,
            },
        ),
        (
            "efficientnet_b0",
            {
                "Conv": 81, "QuickGelu": 49, "ReorderOutput": 39, "ReduceMean": 17, "ReorderInput": 32, "Mul": 16,
                "Reshape": 1, "Gemm": 1,
            },
        ),
    ],
)  # fmt: skip
def test_the_optimized_graph_has_the_nodes_that_a_session_saves(model: str, expected: dict[str, int]) -> None:
    assert kinds(compile_program(traced(model), 16)) == expected


def test_a_quantized_resnet_runs_on_integer_kernels_in_channels_last() -> None:
    assert kinds(compile_program(traced("resnet18"), 16, ["int8"] * len(traced("resnet18").ops))) == {
        "QuantizeLinear": 2, "Transpose": 2, "QLinearConv": 20, "MaxPool": 1, "QLinearAdd": 8, "DequantizeLinear": 2,
        "ReduceMean": 1, "Reshape": 1, "QGemm": 1,
    }  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("target", [X86, ARM], ids=["x86", "arm"])
def test_the_parts_hold_together(dtype: str, target: Target) -> None:
    layout = laid_out(traced("mobilenet_v3_small"), dtype, target)

    assert 0 < layout.activation_lower_bound_bytes <= layout.activation_bytes
    assert layout.activation_lower_bound_bytes == max(nbytes for _, nbytes in layout.timeline)
    assert layout.activation_bytes + layout.workspace_bytes < layout.inference_heap_bytes
    assert layout.load_mapped_bytes == layout.inference_mapped_bytes == 0
    assert layout.arena is not None
    verify_plan(layout.arena, 256)


def test_int8_takes_a_quarter_of_the_file() -> None:
    graph = traced("resnet18")

    assert laid_out(graph).storage_bytes == pytest.approx(46_802_960, rel=0.01)
    assert laid_out(graph, "int8").storage_bytes == pytest.approx(11_800_939, rel=0.02)


def test_other_dtypes_and_small_processors_are_refused_with_a_reason() -> None:
    runtime = RUNTIMES.get("onnxruntime")
    graph = traced("resnet18")

    half = runtime.lay_out(graph, DTYPES.get("float16"), X86)
    small = runtime.lay_out(graph, DTYPES.get("float32"), replace(ARM, isa="armv7-a", pointer_bits=32))

    assert isinstance(half, Unsupported)
    assert "float16" in half.reason
    assert isinstance(small, Unsupported)
    assert "32-bit" in small.reason


def test_an_operator_that_nothing_models_is_named() -> None:
    graph = trace(Forward(lambda _, x: torch.fft.rfft(x)), (torch.zeros(4, 64),))

    assert laid_out(graph).unmodelled_ops == ("fft_rfft",)


@pytest.mark.parametrize(
    ("isa", "block"), [("x86-64", 16), ("x86-64-v3", 8), ("x86-64-v2", 8), ("armv8-a", 1), ("armv8.2-a", 1)]
)
def test_the_channel_block_follows_the_instruction_set(isa: str, block: int) -> None:
    assert channel_block(Target(isa=isa)) == block


# ---- arena ----------------------------------------------------------------------------------------------------------


def test_the_arena_starts_with_a_mebibyte_and_doubles() -> None:
    heap = Heap()
    arena = Arena(heap)

    arena.allocate(10)
    assert arena.regions == [MIB]
    arena.allocate(MIB)  # 256 bytes of the first region are gone
    assert arena.regions == [MIB, 2 * MIB]
    arena.allocate(3_211_264)  # the first convolution of a ResNet: 64 x 112 x 112 floats
    assert arena.regions == [MIB, 2 * MIB, 4 * MIB]
    assert heap.live_nbytes == pytest.approx(7 * MIB + 7 * MIB // 256 * 8, rel=0.003)  # a handle for each 256 bytes


def test_a_chunk_is_split_only_when_half_of_it_would_be_left() -> None:
    arena = Arena(Heap())

    arena.allocate(MIB // 2 + 256)  # takes the whole first region
    arena.allocate(256)
    assert arena.regions == [MIB, 2 * MIB]
    arena.allocate(MIB // 2)
    assert arena.regions == [MIB, 2 * MIB]


def test_freed_neighbours_are_joined() -> None:
    arena = Arena(Heap())
    chunks = [arena.allocate(MIB // 4) for _ in range(4)]

    for chunk in (chunks[1], chunks[3], chunks[2], chunks[0]):
        arena.free(chunk)
    arena.allocate(MIB)

    assert arena.regions == [MIB]


def test_of_two_equal_chunks_the_one_at_the_lower_address_is_taken() -> None:
    """Mapped regions follow each other downwards, so that the later one is written to: 3 MiB more of it than before."""
    heap = Heap()
    arena = Arena(heap)
    chunks = [arena.allocate(nbytes) for nbytes in (MIB, 2 * MIB, 5 * MIB, 6 * MIB)]
    assert arena.regions == [MIB, 2 * MIB, 8 * MIB, 8 * MIB]
    for chunk in chunks:
        arena.free(chunk)

    before = heap.resident_nbytes
    assert arena.allocate(7 * MIB).region == 3
    assert heap.resident_nbytes - before == MIB


@given(st.lists(st.tuples(st.integers(1, 5 * MIB), st.booleans()), max_size=40))
def test_live_chunks_never_overlap_and_fit_their_request(steps: list[tuple[int, bool]]) -> None:
    arena = Arena(Heap())
    live = []
    for nbytes, drop in steps:
        chunk = arena.allocate(nbytes)
        assert chunk.nbytes >= nbytes
        live.append(chunk)
        if drop:
            arena.free(live.pop(0))
        places = sorted(((c.region, c.offset), (c.region, c.offset + c.nbytes)) for c in live)
        assert all(end <= start for (_, end), (start, _) in pairwise(places))
    for chunk in live:
        arena.free(chunk)
    assert sum(c.nbytes for c in arena._free) == sum(arena.regions)


# ---- planner and memory pattern -------------------------------------------------------------------------------------


def chain(*nodes: tuple[str, tuple[int, ...], tuple[int, ...]]) -> tuple[Graph, list[int]]:
    """A graph of one input value 0; each node is (kind, inputs, shape of its output, which is the next value)."""
    graph = Graph()
    made = [graph.value((4, 64), 4)]
    graph.fed = [made[0]]
    for kind, inputs, shape in nodes:
        out = graph.value(shape, 4)
        graph.add(kind, [made[i] for i in inputs], [out], 0)
        made.append(out)
    graph.results = [made[-1]]
    return graph, made


def test_a_dead_buffer_of_the_same_shape_is_used_again_and_one_of_another_shape_is_not() -> None:
    graph, made = chain(
        ("Conv", (0,), (4, 64)), ("Conv", (1,), (4, 64)), ("Conv", (2,), (4, 64)), ("Conv", (3,), (64, 4)),
        ("Conv", (4,), (1, 1)),
    )  # fmt: skip

    planned = allocation.plan(graph, list(graph.nodes.values()))

    assert [held.value for held in planned.buffers] == [made[1], made[2], made[4], made[5]]  # 3 lives where 1 was
    assert planned.buffers[0].last == 3


def test_an_alias_keeps_its_source_alive_and_takes_nothing() -> None:
    graph, made = chain(
        ("Conv", (0,), (4, 64)), ("Reshape", (1,), (256,)), ("Conv", (0,), (9, 9)), ("Sum", (2, 3), (2,))
    )  # fmt: skip

    planned = allocation.plan(graph, list(graph.nodes.values()))

    assert [held.value for held in planned.buffers] == [made[1], made[3], made[4]]
    assert planned.buffers[0].last == 3


def test_an_activation_works_in_place_only_on_what_nobody_else_reads() -> None:
    alone, _ = chain(("Conv", (0,), (4, 64)), ("Relu", (1,), (4, 64)), ("Conv", (2,), (9, 9)))
    shared, _ = chain(("Conv", (0,), (4, 64)), ("Relu", (1,), (4, 64)), ("Sum", (1, 2), (9, 9)))

    assert len(allocation.plan(alone, list(alone.nodes.values())).buffers) == 2
    assert len(allocation.plan(shared, list(shared.nodes.values())).buffers) == 3


def test_the_memory_pattern_takes_the_gap_that_fits_best() -> None:
    # 1 KiB, 2 KiB and 1 KiB in a row; the middle one dies, then 1 KiB goes to its place and 512 bytes behind that
    graph, made = chain(
        ("Conv", (0,), (256,)), ("Conv", (1,), (512,)), ("Conv", (2,), (256, 1)), ("Conv", (3,), (1, 256)),
        ("Conv", (1, 4, 3), (128,)), ("Conv", (5, 4), (3,)),
    )  # fmt: skip
    planned = allocation.plan(graph, list(graph.nodes.values()))

    inner = {held.value: held.nbytes for held in planned.buffers if not held.result}
    nbytes, blocks = allocation.pattern(planned, inner)

    assert [(block.value, block.offset) for block in blocks] == [
        (made[1], 0), (made[2], 1024), (made[3], 3072), (made[4], 1024), (made[5], 2048),
    ]  # fmt: skip
    assert nbytes == 4096


def test_of_two_branches_the_one_made_last_runs_first() -> None:
    graph, made = chain(("Left", (0,), (1,)), ("Right", (0,), (1,)), ("Concat", (1, 2), (2,)))

    assert [node.kind for node in graph.ordered()] == ["Right", "Left", "Concat"]
    assert len(made) == 4


# ---- sizes ----------------------------------------------------------------------------------------------------------


def test_packed_matrices() -> None:
    assert packed_gemm_nbytes(1000, 512) == 1008 * 512 * 4  # ResNet-18's classifier: 2,064,384 bytes
    assert quantization.packed_integer_gemm_nbytes(1000, 512) == 1008 * 512 + 1008 * 4  # 520,128
    assert quantization.packed_integer_gemm_nbytes(1000, 1280) == 1_294_272


def convolution(source: tuple[int, ...], weight: tuple[int, ...], out: tuple[int, ...], window: Window) -> int:
    graph = Graph()
    node = graph.add("Conv", [graph.value(source, 4), graph.value(weight, 4, constant=True)], [graph.value(out, 4)], 0)
    node.window = window
    return convolution_scratch_nbytes(graph, node, arm=False)


def test_scratch_of_plain_convolutions() -> None:
    square = Window((3, 3), (1, 1), (1, 1, 1, 1), (1, 1))
    point = Window((1, 1), (1, 1), (0, 0, 0, 0), (1, 1))

    assert convolution((1, 58, 28, 28), (58, 58, 1, 1), (1, 58, 28, 28), point) == 0
    assert convolution((1, 58, 28, 28), (58, 58, 3, 3), (1, 58, 28, 28), square) == 128 * 128 * 4
    assert convolution((1, 58, 7, 7), (58, 58, 3, 3), (1, 58, 7, 7), square) == 58 * 9 * 49 * 4  # all of im2col


def test_a_filter_is_padded_to_whole_blocks() -> None:
    graph = trace(nn.Conv2d(24, 40, 3, padding=1), (torch.zeros(1, 24, 8, 8),))

    program = compile_program(graph, 16)

    (copy, bias) = program.reordered
    assert program.graph.values[copy.copy].shape == (48, 32, 3, 3)
    assert program.graph.values[bias.copy].shape == (48,)
    assert [node.kind for node in program.order] == ["ReorderInput", "Conv", "ReorderOutput"]


def test_after_which_filters_the_nodes_of_an_addition_and_its_activation_are_gone() -> None:
    graph = trace(torchvision.models.resnet34().eval(), (torch.zeros(1, 3, 64, 64),))

    reordered = compile_program(graph, 16).reordered

    # In a trace of malloc of the session that loads it, seven chunks of 64 bytes were cached when these were copied.
    assert "".join(str(int(copy.after_removal)) for copy in reordered) == "000101010010101010010101010101001010"
    assert not any(copy.is_scale for copy in reordered)


def test_a_norm_that_stands_alone_is_reordered_as_a_scale() -> None:
    layers = nn.Sequential(nn.Conv2d(16, 16, 1), nn.ReLU(), nn.BatchNorm2d(16), nn.Conv2d(16, 16, 1))
    graph = trace(layers.eval(), (torch.zeros(1, 16, 8, 8),))

    reordered = compile_program(graph, 16).reordered

    assert [copy.is_scale for copy in reordered] == [False, True, False, False]  # its shift comes after


def test_channels_that_are_no_multiple_of_four_stay_plain() -> None:
    graph = trace(nn.Sequential(nn.Conv2d(58, 58, 1), nn.ReLU()), (torch.zeros(1, 58, 8, 8),))

    program = compile_program(graph, 16)

    assert [(node.kind, node.blocked, node.activation) for node in program.order] == [("Conv", False, "Relu")]


def test_an_unrolled_cell_packs_its_weights_once() -> None:
    cell = nn.LSTMCell(64, 256)

    def steps(module: Forward, x: torch.Tensor) -> torch.Tensor:
        state = None
        for step in x.unbind(1):
            state = module.children_[0](step, state)
        assert state is not None
        return state[0]

    program = compile_program(trace(Forward(steps, cell), (torch.zeros(1, 16, 64),)), 16)
    packed = [p for node in program.order for p in packings(program.graph, node, arm=False)]

    assert len(packed) == 16 + 15  # the first step's state is zero: folded
    assert len({v for v, _, _ in packed}) == 2


def test_a_recurrent_layer_holds_its_gates_for_the_whole_sequence() -> None:
    program = compile_program(trace(nn.LSTM(64, 256, batch_first=True), (torch.zeros(1, 16, 64),)), 16)

    (layer,) = [node for node in program.order if node.kind == "LSTM"]
    assert layer.scratch[0] == 4 * 256 * 16 * 4
    assert [nbytes for _, nbytes, _ in packings(program.graph, layer, arm=False)] == [1024 * 64 * 4, 1024 * 256 * 4]


def test_a_weight_that_is_computed_is_folded_while_loading_and_its_steps_are_kept() -> None:
    class Standardized(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return nn.functional.conv2d(x, weight, None, self.stride, self.padding)

    plain = trace(nn.Conv2d(256, 256, 3, bias=False), (torch.zeros(1, 256, 8, 8),))
    computed = trace(Standardized(256, 256, 3, bias=False), (torch.zeros(1, 256, 8, 8),))
    program = compile_program(computed, 1)

    assert [fold.kept_nbytes for fold in program.folds] == [256 * 4, 256 * 256 * 9 * 4]  # the mean, the difference
    assert program.exported.initializers != program.graph.initializers()
    weight = 256 * 256 * 9 * 4
    more = laid_out(computed, target=ARM).load_heap_bytes - laid_out(plain, target=ARM).load_heap_bytes
    assert more == pytest.approx(weight, rel=0.05)  # original, its copy and the result, where there were two


def test_a_number_behind_a_matrix_product_is_taken_into_it() -> None:
    scores = Forward(lambda _, x: torch.softmax((x @ x.transpose(-2, -1)) * 0.125, -1))
    graph = trace(scores, (torch.zeros(1, 4, 9, 8),))

    assert "Mul" not in kinds(compile_program(graph, 16))


class Scaled(nn.Module):
    """Convolutions, each with a number a channel that its result is multiplied with, and a sum."""

    def __init__(self, factor_first: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(512, 512, 3, padding=1) for _ in range(4))
        self.factors = nn.ParameterList(nn.Parameter(torch.rand(512, 1)) for _ in range(4))
        self.factor_first = factor_first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer, factor in zip(self.layers, self.factors, strict=True):
            x = x + (factor * layer(x) if self.factor_first else layer(x) * factor)
        return x


def test_a_factor_a_channel_is_taken_into_the_filter_while_loading() -> None:
    graph = trace(Scaled(), (torch.zeros(1, 512, 16),))
    program = compile_program(graph, 16)

    assert "Mul" not in kinds(program)
    filters = {copy.original for copy in program.rescaled}
    assert filters <= set(program.exported.initializers)
    assert filters.isdisjoint(program.graph.initializers())
    # As onnxruntime 1.31.1 took on x86-64, which has no blocked kernels for one dimension: the originals, the copies
    # and two more of the last one.
    assert laid_out(graph).load_heap_bytes == pytest.approx(32_889_840, rel=0.003)
    assert laid_out(graph, "int8").load_heap_bytes == pytest.approx(9_874_520, rel=0.005)
    assert compile_program(graph, 16, ["int8"] * len(graph.ops)).rescaled == ()  # the quantizer's session has done it


def test_a_factor_that_stands_first_or_is_no_number_a_channel_stays() -> None:
    first = compile_program(trace(Scaled(factor_first=True), (torch.zeros(1, 512, 16),)), 16)
    assert (kinds(first)["Mul"], first.rescaled) == (4, ())
    model = Scaled()
    model.factors = nn.ParameterList(nn.Parameter(torch.rand(512, 16)) for _ in range(4))
    whole = compile_program(trace(model, (torch.zeros(1, 512, 16),)), 16)
    assert (kinds(whole)["Mul"], whole.rescaled) == (4, ())


@pytest.mark.parametrize(("bias", "left"), [(True, 0), (False, 1)])
def test_a_sum_is_taken_into_a_plain_convolution_that_has_a_bias(bias: bool, left: int) -> None:
    class Residual(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + super().forward(x)

    program = compile_program(trace(Residual(8, 8, 3, padding=1, bias=bias), (torch.zeros(1, 8, 9, 9),)), 1)
    assert kinds(program).get("Add", 0) == left
