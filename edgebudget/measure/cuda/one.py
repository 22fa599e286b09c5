"""One model on one device: load, first run, later runs, each with its own peaks."""

import copy

import torch

from edgebudget.errors import MeasurementError
from edgebudget.inputs import parse_input
from edgebudget.measure.cuda.device import Device
from edgebudget.measure.cuda.records import CudaMeasurement, CudaPhases
from edgebudget.measure.interface import Subject
from edgebudget.measure.models import build_module
from edgebudget.measure.torchao import quantize

FLOATS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
QUANTIZED = ("int8-weight-only", "int8-dynamic")


class Models:
    """Models on the CPU. The last one is kept: the next subject is often another dtype or size of it."""

    def __init__(self) -> None:
        self._known: tuple[str, torch.nn.Module] | None = None

    def module(self, subject: Subject) -> torch.nn.Module:
        """Return the model of `subject` in its dtype, to be moved and moved back by the caller.

        Raises what building and quantizing it raises.
        """
        if self._known is None or self._known[0] != subject.model:
            self._known = None  # two are never held
            self._known = (subject.model, build_module(subject.model, subject.inputs).eval().requires_grad_(False))
        built = self._known[1]
        if subject.dtype in QUANTIZED:
            twin = copy.deepcopy(built.to(torch.float32))
            quantize(twin, subject.dtype)
            return twin
        return built.to(FLOATS[subject.dtype])


def measure_one(device: Device, models: Models, subject: Subject, already_measured: int) -> CudaMeasurement:
    """Return what `subject` takes on `device`, which holds nothing of it afterwards.

    A library that keeps a workspace for good at its first call of a kind would count as the model's: then it is
    measured once more. Raises what the model raises, and MeasurementError where memory stays a second time.
    """
    for _ in range(2):
        held_bytes = _held_bytes(device)
        module = models.module(subject)
        numel = sum(parameter.numel() for parameter in module.parameters())
        try:
            phases, at_peak, outside_bytes = _run(device, module, subject)
        finally:
            module.to("cpu")
            del module
        left_bytes = _held_bytes(device) - held_bytes
        if left_bytes == 0:
            where = device.provenance(already_measured)
            return CudaMeasurement(subject, numel, phases, at_peak, outside_bytes, device.libraries, where)
    raise MeasurementError(f"{subject.model} leaves {left_bytes:,} bytes on the device: its figures are not its own.")


def _held_bytes(device: Device) -> int:
    device.empty_cache()
    return device.count().allocated_bytes


def _run(device: Device, module: torch.nn.Module, subject: Subject) -> tuple[CudaPhases, tuple[int, ...] | None, int]:
    device.reset_peaks()
    baseline = device.count()

    module.to(device.place)
    load = device.count()

    generator = device.seed()
    inputs = [_input(text, subject.dtype, device.place, generator) for text in subject.inputs]
    device.reset_peaks()
    with_inputs = device.count()

    with torch.inference_mode():
        kept = [module(*inputs)]
        first = device.count()

        kept.clear()  # a caller drops one answer before it asks for the next
        device.reset_peaks()
        kept.append(module(*inputs))
        steady = device.count()
        outside_bytes = device.outside_bytes()

        kept.clear()
        at_peak = device.at_peak(lambda: module(*inputs))
    return CudaPhases(baseline, load, with_inputs, first, steady), at_peak, outside_bytes


def _input(text: str, dtype: str, place: torch.device, generator: torch.Generator) -> torch.Tensor:
    """Return a seeded input: random where the model computes in floats, else zeros, an index that always fits."""
    spec = parse_input(text)
    if getattr(torch, spec.dtype or "float32").is_floating_point:
        return torch.randn(spec.shape, generator=generator, device=place, dtype=FLOATS.get(dtype, torch.float32))
    return torch.zeros(spec.shape, device=place, dtype=getattr(torch, spec.dtype or "float32"))
