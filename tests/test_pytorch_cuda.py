"""Eager PyTorch on a GPU, estimated: the caching allocator's rules, a model through them, and fits of made-up runs."""

import random
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebudget.calibration import on_gpu
from edgebudget.calibration.model import CUDA, CUDA_TENSORS
from edgebudget.cli import main
from edgebudget.dtypes import DTYPES
from edgebudget.errors import CalibrationError
from edgebudget.estimation import estimate
from edgebudget.measure.cuda.records import CacheCount, CudaMeasurement, CudaPhases, CudaProvenance, Libraries
from edgebudget.measure.interface import Subject
from edgebudget.measure.suite import SUITE
from edgebudget.runtimes._cuda_allocator import CachingAllocator, rounded
from edgebudget.runtimes._pytorch_cuda import CudaFootprint, footprint
from edgebudget.target import Target
from edgebudget.tracing import trace

KIB, MIB = 2**10, 2**20


@pytest.mark.parametrize(
    ("nbytes", "block", "segment"),
    [
        (0, 0, 0),
        (1, 512, 2 * MIB),
        (512, 512, 2 * MIB),
        (513, 1024, 2 * MIB),
        (MIB, MIB, 2 * MIB),
        (MIB + 1, MIB + 512, 20 * MIB),
        (10 * MIB - 512, 10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB, 10 * MIB),
        (11 * MIB, 11 * MIB, 12 * MIB),
        (12 * MIB, 12 * MIB, 12 * MIB),
    ],
)
def test_a_request_gets_a_rounded_block_in_a_segment(nbytes: int, block: int, segment: int) -> None:
    allocator = CachingAllocator()
    allocator.allocate(nbytes)
    # Of a large segment no more than 1 MiB is left over: it stays with the block. 11 MiB leave 1 MiB.
    whole = block + MIB if nbytes == 11 * MIB else block
    assert (allocator.allocated_bytes, allocator.reserved_bytes) == (whole, segment)
    assert rounded(nbytes) == block


def test_small_requests_share_a_segment_and_large_ones_do_not_use_it() -> None:
    allocator = CachingAllocator()
    for _ in range(4):
        allocator.allocate(512 * KIB)
    assert allocator.reserved_bytes == 2 * MIB
    allocator.allocate(1)
    assert allocator.reserved_bytes == 4 * MIB
    allocator.allocate(2 * MIB)
    assert allocator.reserved_bytes == 24 * MIB


def test_what_is_released_is_kept_and_joined_and_the_smallest_fitting_block_is_taken() -> None:
    allocator = CachingAllocator()
    first, second, third = (allocator.allocate(size * MIB) for size in (4, 6, 12))
    allocator.release(first)
    allocator.release(second)
    assert (allocator.allocated_bytes, allocator.reserved_bytes) == (12 * MIB, 32 * MIB)
    joined = allocator.allocate(9 * MIB)  # over where both were, and what followed them in the segment of 20 MiB
    assert joined is not None
    assert (joined.address, joined.nbytes) == (0, 9 * MIB)
    allocator.release(third)
    again = allocator.allocate(11 * MIB)
    assert again is not None
    assert again.address == 9 * MIB  # of free blocks of 11 and 12 MiB the smaller
    assert (allocator.allocated_peak_bytes, allocator.reserved_peak_bytes) == (22 * MIB, 32 * MIB)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30 * MIB), st.integers(0, 9)), min_size=1, max_size=60))
def test_blocks_never_overlap_and_all_come_back_as_whole_segments(steps: list[tuple[int, int]]) -> None:
    allocator = CachingAllocator()
    held = []
    for nbytes, release in steps:
        block = allocator.allocate(nbytes)
        if block is not None:
            assert nbytes <= block.nbytes <= nbytes + MIB + 511
            held.append(block)
        if held and release < 4:
            allocator.release(held.pop(release % len(held)))
        places = sorted((block.address, block.address + block.nbytes) for block in held)
        assert all(end <= start for (_, end), (start, _) in pairwise(places))
        assert allocator.allocated_bytes == sum(block.nbytes for block in held) <= allocator.reserved_bytes
    reserved = allocator.reserved_bytes
    for block in held:
        allocator.release(block)
    assert allocator.allocated_bytes == 0
    assert sum(nbytes for pool in allocator._free.values() for nbytes, _, _ in pool) == reserved
    assert all(
        block.before is None and block.after is None for pool in allocator._free.values() for _, _, block in pool
    )


class Chain(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1000))  # 4,000 bytes: a block of 4,096

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x * self.weight  # input, y
        z = y + 1  # input, y, z
        del y
        return torch.cat([z, z])  # input, z, twice as much


def test_a_model_by_hand() -> None:
    graph = trace(Chain(), (torch.zeros(1000),))
    found = footprint(graph, DTYPES.get("float32"))
    block = 4096
    assert (found.load_allocated_bytes, found.load_reserved_bytes) == (block, 2 * MIB)
    assert found.allocated_peak_bytes == block + block + block + rounded(8000)
    assert found.reserved_peak_bytes == 2 * MIB
    assert max(found.curve) == 4000 + 4000 + 8000
    half = footprint(graph, DTYPES.get("float16"))
    assert half.allocated_peak_bytes == 3 * rounded(2000) + rounded(4000)


def test_a_device_whose_gpu_shares_the_ram_holds_segments() -> None:
    graph = trace(Chain(), (torch.zeros(1000),))
    on_gpu_layout = estimate(graph, dtype="float32", runtime="pytorch", target=Target(gpu="cuda")).layout
    assert on_gpu_layout.inference_heap_bytes == 2 * MIB
    assert on_gpu_layout.load_heap_bytes == 2 * MIB
    assert "segments of PyTorch's caching allocator" in " ".join(on_gpu_layout.notes)
    on_cpu = estimate(graph, dtype="float32", runtime="pytorch", target=Target()).layout
    assert on_cpu.inference_heap_bytes < on_gpu_layout.inference_heap_bytes
    assert on_cpu.notes != on_gpu_layout.notes


def test_what_takes_scratch_on_a_gpu_is_named() -> None:
    graph = trace(torch.nn.Conv2d(3, 8, 3), (torch.zeros(1, 3, 8, 8),))
    layout = estimate(graph, dtype="float32", runtime="pytorch", target=Target(gpu="cuda")).layout
    assert layout.unmodelled_ops == ("aten.conv2d.default",)


# Fits of made-up measurements: no GPU was near them.

LIBRARIES = Libraries(400 * MIB, 30 * MIB, 8 * MIB, 0, 100 * MIB, 0, 0, 300 * MIB, 900 * MIB)
WHERE = CudaProvenance("2026-01-02T03:04:05Z", "made up", "0.0", 1, "1", {"torch": "2.11.0", "cuda": "13.0"}, {}, 3, 0)
MODELS = [entry.model for entry in SUITE][:40]


def made_up_footprint(measurement: CudaMeasurement) -> CudaFootprint:
    rng = random.Random(f"{measurement.subject.model} {measurement.subject.inputs}")
    weights, activations = rng.randint(MIB, 200 * MIB), rng.randint(MIB, 100 * MIB)
    reserved = weights + activations + rng.randint(0, 20 * MIB)
    return CudaFootprint(weights, weights + MIB, weights + activations, reserved, 0, (activations,))


def made_up_measurement(model: str, size: int, noise: float) -> CudaMeasurement:
    subject = Subject(model, (f"{size}x3:float32",), "cuda", "float32")
    none = CacheCount(*[8 * MIB] * 6)
    blank = CudaMeasurement(subject, 1, CudaPhases(none, none, none, none, none), None, 0, LIBRARIES, WHERE)
    found = made_up_footprint(blank)
    rng = random.Random(model + str(size))
    scratch = 1.25 * (found.allocated_peak_bytes - found.load_allocated_bytes) * rng.gauss(1, noise)
    peak = round(found.load_allocated_bytes + scratch) + 8 * MIB
    load = found.load_allocated_bytes + 8 * MIB
    reserved = peak + found.reserved_peak_bytes - found.allocated_peak_bytes
    phases = CudaPhases(
        baseline=none,
        load=replace(none, allocated_bytes=load, reserved_peak_bytes=found.load_reserved_bytes + 8 * MIB),
        inputs=none,
        first_inference=none,
        steady_inference=replace(none, allocated_peak_bytes=peak, reserved_peak_bytes=reserved),
    )
    return replace(blank, phases=phases)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> list[CudaMeasurement]:
    monkeypatch.setattr(on_gpu, "footprint_of", made_up_footprint)
    return [made_up_measurement(model, size, 0.01) for model in MODELS for size in (1, 2, 4)]


def test_known_scratch_is_found_in_made_up_measurements(made_up: list[CudaMeasurement]) -> None:
    pytest.importorskip("scipy")
    segments, tensors = on_gpu.fit_gpu(made_up, 0.9, lambda said: pytest.fail(said))
    assert (segments.isa, tensors.isa) == (CUDA, CUDA_TENSORS)
    for fitted in (segments, tensors):
        assert fitted.coefficients["inference"]["weights"] == pytest.approx(1, abs=0.01)
        assert fitted.coefficients["inference"]["activations"] == pytest.approx(1.25, abs=0.03)
        assert fitted.models == len(MODELS)
        assert fitted.held_out.median < fitted.held_out_raw.median / 2
        assert fitted.coverage == pytest.approx(0.9, abs=0.02)
        assert fitted.versions == {"torch": "2.11.0", "cuda": "13.0"}
    host = 900 * MIB - on_gpu.CUDA_BUILD_BYTES
    assert (segments.fixed_bytes, tensors.fixed_bytes) == (538 * MIB + host, 0)


def test_measurements_of_two_gpus_are_not_mixed(made_up: list[CudaMeasurement]) -> None:
    other = replace(made_up[0], provenance=replace(WHERE, gpu="another"))
    said: list[str] = []
    assert on_gpu.fit_gpu([*made_up, other], 0.9, said.append) == ()
    assert "mix several gpu" in said[0]
    with pytest.raises(CalibrationError):
        on_gpu.origin_of([made_up[0], other], "float32", CUDA)


def test_a_jetson_counts_what_the_gpu_takes(capsys: pytest.CaptureFixture[str]) -> None:
    path = "tests/test_pytorch_cuda.py:chain"
    main(["check", path, "--device", "jetson-nano-4gb", "--dtype", "float32", "--format", "json", "--out", "-", "-q"])
    assert "segments of PyTorch's caching allocator" in capsys.readouterr().out


def chain() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    return Chain(), (torch.zeros(1000),)
