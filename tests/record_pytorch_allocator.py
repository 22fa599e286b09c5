"""Measure the peak of PyTorch's CPU allocator, record it, and print the estimate beside it.

    python -m tests.record_pytorch_allocator resnet18 timm:levit_128s@float16 resnet50@off ...

Each reference may carry a dtype, and `off` for oneDNN disabled. The first forward of a fresh module counts, on one
thread, under inference mode; weights and inputs exist before and do not count. Rows go to the recorded data that
`tests/test_pytorch_allocator.py` judges by; a row measured again replaces the old one.
"""

import os
import sys
from collections.abc import Sequence

import torch

from edgebudget.sources import load_model
from tests.pytorch_allocator import Measurement, predicted, read, real_peak_bytes, write


def real_module(reference: str) -> torch.nn.Module:
    """Return the model with real weights, random ones."""
    if reference.startswith("timm:"):
        import timm

        return timm.create_model(reference.removeprefix("timm:"), pretrained=False).eval()
    import torchvision

    builder = torchvision.models.get_model_builder(reference)
    backbone = {"weights_backbone": None} if "segmentation" in builder.__module__ else {}
    return torchvision.models.get_model(reference, weights=None, **backbone).eval()


def measure(reference: str, dtype: str, onednn: bool) -> Measurement:
    """Measure one model at the size its source gives it."""
    torch.backends.mkldnn.enabled = onednn
    capability = os.environ.get("ONEDNN_MAX_CPU_ISA") or torch.backends.cpu.get_cpu_capability()
    element = getattr(torch, dtype)
    shapes = [tuple(a.shape) for a in load_model(reference, ()).args if isinstance(a, torch.Tensor)]
    args = [torch.rand(shape, dtype=element) for shape in shapes]
    peak = real_peak_bytes(real_module(reference).to(element), args)
    inputs = ";".join("x".join(map(str, shape)) for shape in shapes)
    return Measurement(reference, inputs, dtype, onednn, torch.__version__, capability.lower(), 1, peak)


def main(references: Sequence[str]) -> None:
    for reference in references:
        model, *flags = reference.split("@")
        onednn = "off" not in flags
        dtype = next((flag for flag in flags if flag != "off"), "float32")
        try:
            measured = measure(model, dtype, onednn)
        except Exception as error:  # one model that cannot run must not stop the others
            print(f"{reference:44} {type(error).__name__}: {str(error)[:150]}", flush=True)
            continue
        write(read() | {measured.key: measured})
        estimate, layout = predicted(measured)
        error = estimate / measured.peak_bytes - 1
        where = "judge" if measured.judges else "build"
        peak_op = f"{layout.peak_op.name} {layout.peak_op.module}"
        unknown = f" unmodelled: {', '.join(layout.unmodelled_ops)}" if layout.unmodelled_ops else ""
        figures = f"{measured.peak_bytes:>12} {estimate:>12} {error:+8.3%}"
        print(f"{reference:44} {where} {figures} {peak_op}{unknown}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
