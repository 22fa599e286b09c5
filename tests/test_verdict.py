"""Decisions on whole bytes, and the sentences that go with them."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebudget.calibration.model import Fit, HeldOut, raw_coefficients
from edgebudget.calibration.store import NONE, Calibrations
from edgebudget.errors import UsageError
from edgebudget.estimation import MemoryEstimate
from edgebudget.graph import Role, Storage, TensorSpec, TracedGraph, Truncation
from edgebudget.profiles.interface import (
    Accelerator,
    AcceleratorMemory,
    Cpu,
    DeviceProfile,
    DtypeSupport,
    Memory,
    MemoryRegion,
    Source,
    StorageSpace,
)
from edgebudget.runtimes.interface import MemoryLayout, PeakOp, Unsupported
from edgebudget.verdict import Decision, check, decide, uncalibrated

GO, MARGINAL, NO_GO = Decision.GO, Decision.MARGINAL, Decision.NO_GO

PROFILE = DeviceProfile(
    name="board",
    aliases=(),
    display_name="A board",
    device_class="sbc",
    memory=Memory(
        ram_bytes=4000,
        os_visible_bytes=3500,
        idle_available_bytes=3000,
        process_limit_bytes=2000,
        safety_margin_percent=0.0,
    ),
    storage=StorageSpace(capacity_bytes=9000, available_for_model_bytes=5000),
    cpu=Cpu(isa="armv8-a", cores=("cortex-a72",), pointer_bits=64),
    dtypes={"float32": "native", "float16": "storage", "int8": "emulated", "bfloat16": "unsupported"},
    runtimes={"pytorch": None},
    default_runtime="pytorch",
    sources=tuple(
        Source(field, "a data sheet", "2026-11-21", "verified")
        for field in ("memory.process_limit", "memory.idle_available", "storage.available_for_model")
    ),
)
GRAPH = TracedGraph(
    name="net",
    storages=(Storage(0, 48, "float32", Role.INPUT, "x", -1, 0),),
    tensors=(TensorSpec(0, (2, 6), (6, 1), "float32", 0),),
    ops=(),
    inputs=(0,),
    outputs=(),
)
LAYOUT = MemoryLayout(
    activation_lower_bound_bytes=300,
    activation_bytes=400,
    activation_total_bytes=900,
    activation_peak_numel=75,
    workspace_bytes=50,
    load_heap_bytes=700,
    inference_heap_bytes=800,
    load_mapped_bytes=30,
    inference_mapped_bytes=40,
    storage_bytes=1000,
    runtime_bytes=160,
    peak_op=PeakOp(3, "aten.conv2d.default", "conv"),
    timeline=(),
)


EXACT = HeldOut(0.0, 0.0, 0.0)
FIT = Fit(
    runtime="pytorch",
    dtype="float32",
    isa="armv8-a",
    level=0.9,
    coefficients=raw_coefficients(),
    low_ratio=0.75,
    high_ratio=1.25,
    models=60,
    families=20,
    unseen=30,
    held_out=EXACT,
    held_out_raw=EXACT,
    leave_one_model_out=EXACT,
    coverage=0.9,
    measured_on="a board",
    measured_from="2026-11-21",
    measured_to="2026-11-21",
    versions={"torch": "2.15.0"},
    digest="0123456789abcdef",
)


def estimated(
    layout: MemoryLayout | Unsupported = LAYOUT, dtype: str = "float32", graph: TracedGraph = GRAPH
) -> MemoryEstimate:
    return MemoryEstimate(graph, dtype, "pytorch", PROFILE.target, 100, 10, 400, 40, layout)


def with_memory(**changes: int | float | str | tuple[MemoryRegion, ...] | None) -> DeviceProfile:
    return replace(PROFILE, memory=replace(PROFILE.memory, **changes))


@pytest.mark.parametrize(
    ("low", "high", "budget", "decision"),
    [
        (50, 100, 101, GO),
        (50, 100, 100, GO),
        (50, 100, 99, MARGINAL),
        (50, 100, 51, MARGINAL),
        (50, 100, 50, MARGINAL),
        (50, 100, 49, NO_GO),
        (100, 100, 100, GO),
        (100, 100, 99, NO_GO),
        (0, 0, 0, GO),
        (2**40, 2**40 + 1, 2**40, MARGINAL),  # a float32 of these would be equal
    ],
)
def test_ram_boundaries(low: int, high: int, budget: int, decision: Decision) -> None:
    assert decide(low, high, budget, 0, 0) is decision


@pytest.mark.parametrize(
    ("storage", "storage_budget", "decision"),
    [(100, 101, GO), (100, 100, GO), (100, 99, NO_GO), (100, None, GO)],
)
def test_storage_boundaries(storage: int, storage_budget: int | None, decision: Decision) -> None:
    assert decide(1, 1, 1, storage, storage_budget) is decision


@pytest.mark.parametrize(
    ("budget", "decision"), [(1251, GO), (1250, GO), (1249, MARGINAL), (750, MARGINAL), (749, NO_GO)]
)
def test_check_decides_on_the_uncalibrated_interval(budget: int, decision: Decision) -> None:
    # heap 800 + mapped 40 + runtime 160 = 1000 at inference, so 750 to 1250
    result = check(estimated(), with_memory(process_limit_bytes=budget), calibrations=NONE)
    assert result.decision is decision
    assert (result.peak_low_bytes, result.peak_bytes, result.peak_high_bytes) == (750, 1000, 1250)
    assert result.headroom_bytes == budget - 1250


@pytest.mark.parametrize(
    ("budget", "decision"),
    [(1_251_211, GO), (1_251_210, GO), (1_251_209, MARGINAL), (160, MARGINAL), (159, NO_GO)],
)
def test_check_takes_the_calibrations_interval(budget: int, decision: Decision) -> None:
    # heap 800 + mapped 40 = 840 at inference, a quarter of it and of the 5 MB floor either way, and the runtime's 160
    profile = with_memory(process_limit_bytes=budget, idle_available_bytes=10**9)
    result = check(estimated(), profile, calibrations=Calibrations((FIT,)))
    assert (result.peak_low_bytes, result.peak_bytes, result.peak_high_bytes) == (160, 1000, 1_251_210)
    assert result.decision is decision
    assert result.calibration == "pytorch-float32-armv8-a-01234567"
    assert any("Calibrated by pytorch-float32-armv8-a-01234567" in reason for reason in result.reasons)
    assert not any("Not calibrated" in reason for reason in result.reasons)


def test_check_carries_every_part() -> None:
    result = check(estimated(), PROFILE, model="asked", batch=7, calibrations=NONE)
    assert (result.model, result.device, result.runtime, result.dtype) == ("asked", "board", "pytorch", "float32")
    assert (result.batch, result.inputs) == (7, ("2x6:float32",))
    assert (result.load_peak_bytes, result.inference_peak_bytes, result.raw_peak_bytes) == (890, 1000, 1000)
    assert (result.parameter_numel, result.parameter_bytes, result.buffer_bytes) == (100, 400, 40)
    assert (result.budget_bytes, result.storage_bytes, result.storage_budget_bytes) == (2000, 1000, 5000)
    assert result.headroom_bytes == result.budget_bytes - result.peak_high_bytes
    assert result.peak_op == LAYOUT.peak_op
    assert not result.recommended


def test_check_names_what_was_traced_where_nothing_was_asked() -> None:
    result = check(estimated(), PROFILE, calibrations=NONE)
    assert (result.model, result.batch) == ("net", 2)


def test_the_profiles_overhead_replaces_the_runtimes() -> None:
    result = check(estimated(), replace(PROFILE, runtimes={"pytorch": 60}), calibrations=NONE)
    assert result.runtime_bytes == 60
    assert result.raw_peak_bytes == 900


@pytest.mark.parametrize(
    ("percent", "budget"), [(0.0, 2000), (10.0, 1800), (12.5, 1750), (33.3, 1334), (0.1, 1998), (100.0, 0)]
)
def test_headroom_is_kept_free_of_the_budget(percent: float, budget: int) -> None:
    assert check(estimated(), PROFILE, headroom_percent=percent, calibrations=NONE).budget_bytes == budget


@pytest.mark.parametrize("percent", [-0.1, 100.1, float("nan")])
def test_headroom_outside_its_range_is_refused(percent: float) -> None:
    with pytest.raises(UsageError, match="outside 0 to 100"):
        check(estimated(), PROFILE, headroom_percent=percent, calibrations=NONE)


def test_unsupported_by_the_device() -> None:
    result = check(estimated(dtype="bfloat16"), PROFILE, calibrations=NONE)
    assert result.decision is Decision.UNSUPPORTED
    assert result.reasons == ("board cannot compute in bfloat16.",)
    assert result.peak_bytes is None
    assert result.parameter_numel == 100
    assert result.budget_bytes == 2000


def test_unsupported_by_the_runtime() -> None:
    result = check(estimated(Unsupported("No kernels for it.")), PROFILE, calibrations=NONE)
    assert result.decision is Decision.UNSUPPORTED
    assert result.reasons == ("No kernels for it.",)
    assert result.raw_peak_bytes is None


def reasons(profile: DeviceProfile = PROFILE, layout: MemoryLayout = LAYOUT, dtype: str = "float32") -> str:
    return " ".join(check(estimated(layout, dtype), profile, calibrations=NONE).reasons)


@pytest.mark.parametrize(
    ("process_limit", "said"),
    [
        (1250, "Fits in RAM with 0 bytes to spare: the peak, at inference, is 1,250 bytes (1.22 KiB) at worst."),
        (1249, "May be short of RAM by up to 1 byte: the peak, at inference,"),
        (749, "Short of RAM by at least 1 byte: the peak, at inference, is 750 bytes at best."),
    ],
)
def test_reasons_say_what_is_short_by_how_much(process_limit: int, said: str) -> None:
    assert said in reasons(with_memory(process_limit_bytes=process_limit))


def test_reasons_name_the_load_peak() -> None:
    assert "the peak, at loading," in reasons(layout=replace(LAYOUT, load_heap_bytes=900))


@pytest.mark.parametrize(("weights_in", "word"), [("ram", "storage"), ("flash", "flash")])
def test_reasons_name_the_storage_that_is_short(weights_in: str, word: str) -> None:
    profile = with_memory(weights_in=weights_in)
    estimate = replace(estimated(replace(LAYOUT, storage_bytes=5001)), target=profile.target)
    result = check(estimate, profile, calibrations=NONE)
    assert result.decision is NO_GO
    assert f"Short of {word} by 1 byte: the file is 5,001 bytes (4.88 KiB)." in result.reasons


def test_storage_has_its_headroom() -> None:
    assert "Fits in storage with 4,000 bytes (3.91 KiB) to spare: the file is 1,000 bytes." in reasons()


@pytest.mark.parametrize(
    ("available", "decision", "said"),
    [
        (1250, GO, None),
        (1249, MARGINAL, "The heap, 800 bytes, fits; the rest are pages"),
        (630, MARGINAL, "The heap alone is 800 bytes: without swap the system ends the process, "),
        (629, NO_GO, "The heap alone is 800 bytes: without swap the system ends the process, "),
    ],
)
def test_short_of_ram_a_board_reads_clean_pages_again(available: int, decision: Decision, said: str | None) -> None:
    """The heap of 800 and the 40 that every run reads have to stay, three quarters of them at best: 630."""
    profile = with_memory(idle_available_bytes=available, process_limit_bytes=None)
    assert check(estimated(), profile, calibrations=NONE).decision is decision
    assert (said or "") in reasons(profile)
    assert ("The heap" in reasons(profile)) is (said is not None)


@pytest.mark.parametrize(
    ("available", "ceiling", "said"),
    [
        (750, 1250, None),  # the low end fits: what the budget says is enough
        (749, 1250, "Within the 1,250 bytes (1.22 KiB) that one process may have, it can work"),
        (749, 1249, "One process may have 1,249 bytes (1.22 KiB) at the very most."),
        (749, None, None),
    ],
)
def test_a_phone_has_three_zones(available: int, ceiling: int | None, said: str | None) -> None:
    """What was seen available, the ceiling of one process, and what is above it; the peak is 750 to 1,250."""
    memory = replace(PROFILE.memory, idle_available_bytes=available, process_limit_bytes=ceiling)
    profile = replace(PROFILE, memory=memory, device_class="phone")
    result = check(estimated(), profile, calibrations=NONE)
    assert result.decision is (NO_GO if available < 750 else MARGINAL)
    assert ("One process may have" in reasons(profile)) is (said is not None and said.startswith("One"))
    assert ("it can work" in reasons(profile)) is (said is not None and said.startswith("Within"))
    assert said is None or said in reasons(profile)


def in_flash(profile: DeviceProfile, layout: MemoryLayout = LAYOUT) -> tuple[Decision, str]:
    """Return the verdict where constants stay in flash, so that the peak is one arena."""
    flash = replace(profile, memory=replace(profile.memory, weights_in="flash"))
    result = check(replace(estimated(layout), target=flash.target), flash, calibrations=NONE)
    return result.decision, " ".join(result.reasons)


@pytest.mark.parametrize(("largest", "decision"), [(1250, GO), (1249, MARGINAL), (750, MARGINAL), (749, NO_GO)])
def test_an_arena_has_to_fit_one_region(largest: int, decision: Decision) -> None:
    """However much the regions are together, and whatever else the profile allows."""
    profile = with_memory(regions=(MemoryRegion("SRAM2", 700), MemoryRegion("SRAM1", largest)))
    found, said = in_flash(profile)
    assert found is decision
    assert ("The arena has to stand in one piece: the largest block of RAM is SRAM1," in said) is (decision is not GO)


def test_an_arena_may_fit_slow_memory_only() -> None:
    profile = with_memory(regions=(MemoryRegion("SRAM", 449), MemoryRegion("PSRAM", 1900, "slow")))
    found, said = in_flash(profile)
    assert found is GO
    assert "Only the slower PSRAM of board has a block that is large enough." in said  # activations 400 + workspace 50
    faster = with_memory(regions=(MemoryRegion("SRAM", 450), MemoryRegion("PSRAM", 1900, "slow")))
    assert "slower" not in in_flash(faster)[1]


@pytest.mark.parametrize(
    ("memory", "said"),
    [
        (
            AcceleratorMemory("cache", 440, "weights"),
            "the weights, 440 bytes before any padding of its own, fit its cache",
        ),
        (AcceleratorMemory("cache", 439, "weights"), "exceed its cache by 1 byte: the rest is read from the RAM."),
        (
            AcceleratorMemory("SRAM", 300, "activations"),
            "the activations, 300 bytes before any padding of its own, fit",
        ),
        (AcceleratorMemory("SRAM", 299, "activations", "nothing"), "by 1 byte: the model does not run there."),
        (AcceleratorMemory("SRAM", 739, "both"), "the weights and activations, 740 bytes"),
        (AcceleratorMemory("SRAM", 1, "cache"), None),
    ],
)
def test_reasons_say_what_fits_an_accelerator(memory: AcceleratorMemory, said: str | None) -> None:
    profile = replace(PROFILE, accelerators=(Accelerator("NPU", ("float32",), (memory,)),))
    assert ("NPU" in reasons(profile)) is (said is not None)
    assert said is None or said in reasons(profile)
    assert "NPU" not in reasons(profile, dtype="float16")  # which it does not compute in
    assert check(estimated(), profile, calibrations=NONE).decision is GO  # of the CPU
    mode = replace(PROFILE, accelerators=(Accelerator("NPU", ("float32",), (memory,), "Shared: arena in SRAM"),))
    assert ("NPU (Shared): the" in reasons(mode)) is (said is not None)


def test_the_capacity_is_the_limit_where_no_smaller_one_is_known() -> None:
    profile = replace(PROFILE, storage=StorageSpace(900, None))
    assert check(estimated(), profile, calibrations=NONE).storage_budget_bytes == 900
    assert check(estimated(), profile, calibrations=NONE).decision is NO_GO


def test_an_unknown_storage_limit_is_said() -> None:
    profile = replace(PROFILE, storage=StorageSpace(None, None))
    result = check(estimated(), profile, calibrations=NONE)
    assert result.decision is GO
    assert any("gives no storage limit" in reason for reason in result.reasons)


@pytest.mark.parametrize(
    ("dtype", "said"),
    [
        ("float16", "board stores float16 but computes in a wider type."),
        ("int8", "board emulates int8: it runs, but slower."),
    ],
)
def test_reasons_say_how_the_device_computes(dtype: str, said: str) -> None:
    assert said in reasons(dtype=dtype)


def test_reasons_say_what_the_profile_does_not() -> None:
    nothing: Mapping[str, DtypeSupport] = {}
    assert "does not say whether board computes in float32" in reasons(replace(PROFILE, dtypes=nothing))


@pytest.mark.parametrize(("region", "said"), [(400, False), (399, True)])
def test_reasons_say_that_ram_is_split(region: int, said: bool) -> None:
    profile = with_memory(regions=(MemoryRegion("SRAM1", region), MemoryRegion("SRAM2", 100)))
    assert ("activations take 400 bytes in one piece" in reasons(profile)) is said


def test_reasons_say_that_the_runtime_itself_is_not_counted() -> None:
    said = "The fixed cost of pytorch itself is not counted"
    assert said in reasons(layout=replace(LAYOUT, runtime_bytes=0))
    assert said not in reasons()
    assert said not in reasons(replace(PROFILE, runtimes={"pytorch": 60}), replace(LAYOUT, runtime_bytes=0))


def test_reasons_say_that_nothing_was_measured() -> None:
    assert "Not calibrated: the interval is wide, 25 % below to 25 % above the computed peak." in reasons()


def test_reasons_say_that_the_budget_is_an_estimate() -> None:
    guess = (Source("memory.process_limit", "a guess", "2026-11-21", "estimated"),)
    assert "rest on estimates: memory.process_limit" in reasons(replace(PROFILE, sources=guess + PROFILE.sources[1:]))
    assert "rest on estimates" not in reasons()


def test_an_unsupported_option_says_so_as_well() -> None:
    guess = (Source("memory.process_limit", "a guess", "2026-11-21", "estimated"),)
    profile = replace(PROFILE, sources=guess + PROFILE.sources[1:])
    for estimate in (estimated(dtype="bfloat16"), estimated(Unsupported("No kernels for it."))):
        assert "rest on estimates: memory.process_limit" in check(estimate, profile, calibrations=NONE).reasons[-1]


def test_reasons_name_what_is_not_modelled_and_the_runtimes_notes() -> None:
    layout = replace(LAYOUT, unmodelled_ops=("aten.fft_rfft.default",), notes=("A note.",))
    assert "Scratch memory is not modelled for: aten.fft_rfft.default." in reasons(layout=layout)
    assert "A note." in reasons(layout=layout)


def test_reasons_say_where_a_trace_stopped() -> None:
    graph = replace(GRAPH, truncation=Truncation("roi_heads", "aten.nonzero.default", "needs the values of a tensor."))
    said = " ".join(check(estimated(graph=graph), PROFILE, calibrations=NONE).reasons)
    assert "up to aten.nonzero.default in roi_heads only" in said
    assert "not counted" in said


@given(st.integers(0, 2**50))
def test_the_uncalibrated_interval_contains_the_peak(raw: int) -> None:
    interval = uncalibrated(raw)
    assert interval.low_bytes <= interval.peak_bytes == raw <= interval.high_bytes
    assert 4 * interval.low_bytes <= 3 * raw < 4 * (interval.low_bytes + 1)
    assert 4 * (interval.high_bytes - 1) < 5 * raw <= 4 * interval.high_bytes or raw == 0
