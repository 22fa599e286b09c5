"""MLPerf Tiny's reference models, rebuilt, on boards they were submitted on; and what does not fit such a board."""

import pytest
import torchvision

import edgebudget as eb
from edgebudget.estimation import MemoryEstimate
from tests import mlperf_tiny

# Submissions of the four models: github.com/mlcommons/tiny, benchmark/reference_submissions (NUCLEO-L4R5ZI);
# tiny_results_v1.1, closed/STMicroelectronics (NUCLEO-H7A3ZI-Q), Krai (nRF5340-DK) and plumerai (DISCO-F746NG).
BOARDS = ("stm32l4r5", "stm32h7a3", "nrf5340-dk", "stm32f746-disco")

# Tensor arenas that were set aside for TensorFlow Lite Micro, int8, in whole KiB: tiny_results_v0.7 at 64623f41,
# closed/renesas/code/EK_RA6M4/src/tensorflow/lite/micro/examples/main_functions.cc (EEMBCKWS, VWW, IC, AD).
PUBLISHED_KIB = {"ds_cnn": 31, "mobilenet_v1": 99, "resnet_8": 54, "autoencoder": 3}

# How far below the estimate may be, beside the KiB that they were rounded up to. Nothing published says how much of the
# 31 KiB for keyword spotting is in use, whose two largest tensors are 8,000 bytes each.
BELOW_PERCENT = {"ds_cnn": 27, "mobilenet_v1": 1, "resnet_8": 1, "autoencoder": 1}

# By hand from the layers, so that a change of the rebuilt models is noticed.
PARAMETERS = {"ds_cnn": 23_756, "mobilenet_v1": 216_322, "resnet_8": 78_186, "autoencoder": 267_928}
LINEAR_OUTPUTS = {"ds_cnn": 12, "mobilenet_v1": 2, "resnet_8": 10, "autoencoder": 8 * 128 + 8 + 640}


def estimate(name: str) -> MemoryEstimate:
    module, inputs = getattr(mlperf_tiny, name)()
    return eb.estimate(eb.trace(module.eval(), inputs), dtype="int8", runtime="tflite-micro")


def arena_bytes(name: str) -> int:
    """Return the estimated arena as the models of 2022 take it.

    Their converter quantized linear layers with one scale each. Today's, and the estimate, give every output channel
    one, for which the kernel keeps a multiplier and a shift of 32 bits (fully_connected_common.cc, is_per_channel).
    """
    result = eb.check(estimate(name), eb.load_profile("stm32l4r5"))
    assert result.raw_peak_bytes is not None
    return result.raw_peak_bytes - 8 * LINEAR_OUTPUTS[name]


@pytest.mark.parametrize("name", PUBLISHED_KIB)
@pytest.mark.parametrize("board", BOARDS)
def test_they_fit_the_boards_they_were_submitted_on(name: str, board: str) -> None:
    result = eb.check(estimate(name), eb.load_profile(board))
    assert result.decision == "GO", result.reasons
    assert result.unmodelled_ops == ()
    assert result.parameter_numel == PARAMETERS[name]
    assert any(reason.startswith("Fits in RAM with ") for reason in result.reasons)
    assert any(reason.startswith("Fits in flash with ") for reason in result.reasons)


@pytest.mark.parametrize("name", PUBLISHED_KIB)
def test_the_arena_is_near_the_published_one(name: str) -> None:
    published_bytes = PUBLISHED_KIB[name] * 1024
    least_bytes = published_bytes * (100 - BELOW_PERCENT[name]) / 100 - 1024
    assert least_bytes < arena_bytes(name) <= published_bytes


@pytest.mark.parametrize("board", ["nrf52840-dk", "arduino-nano-33-ble-sense"])
def test_mobilenet_v2_does_not_fit_256_kb_and_both_budgets_say_by_how_much(board: str) -> None:
    profile = eb.load_profile(board)
    assert profile.memory.ram_bytes == 256 * 1024
    graph = eb.trace(torchvision.models.mobilenet_v2().eval(), mlperf_tiny.image(224))
    result = eb.check(eb.estimate(graph, dtype="int8", runtime="tflite-micro"), profile)
    assert result.decision == "NO-GO"
    assert result.peak_low_bytes is not None
    assert result.storage_bytes is not None
    assert result.storage_budget_bytes is not None
    ram_bytes = result.peak_low_bytes - profile.budget_bytes
    flash_bytes = result.storage_bytes - result.storage_budget_bytes
    assert ram_bytes > 1_000_000
    assert flash_bytes > 2_000_000
    assert result.reasons[0].startswith(f"Short of RAM by at least {ram_bytes:,} bytes")
    assert any(reason.startswith(f"Short of flash by {flash_bytes:,} bytes") for reason in result.reasons)
