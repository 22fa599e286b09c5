"""Worker: `python -m edgebudget.measure.workers.pytorch_cpu MODEL DTYPE THREADS RUNS SHAPE...`."""

import gc
import json
import os
import sys
from collections.abc import Sequence

import torch
from torch.profiler import ProfilerActivity, profile

from edgebudget.measure.models import build_module, example_inputs, input_shapes
from edgebudget.measure.workers.probe import Probe, take_stdout
from edgebudget.tracing.guards import uncollected


def allocator_events(module: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> list[int]:
    """Return every allocation (positive) and free (negative) of the CPU allocator in one forward, in order, in bytes.

    The outputs are held to the end. Weights and inputs, which were there before, are not among them.
    """
    profiling = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
    with uncollected(), torch.inference_mode(), profiling as profiler:
        outputs = module(*inputs)
    results = profiler.profiler.kineto_results.events()
    events = [event for event in results if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    del outputs
    return [event.nbytes() for event in events]


def peak_of(events: Sequence[int]) -> int:
    """Return the largest sum of a prefix of `events`."""
    live = peak = 0
    for nbytes in events:
        live += nbytes
        peak = max(peak, live)
    return peak


def allocator_peaks(module: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> dict[str, int]:
    """Return the allocator's peaks, in the shape of `AllocatorCount`, when `module` has not run yet in this process."""
    first_bytes = peak_of(allocator_events(module, inputs))
    peak_bytes = peak_of(allocator_events(module, inputs))
    with torch.backends.mkldnn.flags(enabled=False):
        plain_bytes = peak_of(allocator_events(module, inputs))
    return {"first_peak_bytes": first_bytes, "peak_bytes": peak_bytes, "peak_without_onednn_bytes": plain_bytes}


def allocator_peaks_aside(module: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> dict[str, int]:
    """Return `allocator_peaks` from a fork, so that the profiler leaves no trace in the process that is measured."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, json.dumps(allocator_peaks(module, inputs)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    if not text:
        raise RuntimeError("the forward failed under the profiler; see above")
    peaks: dict[str, int] = json.loads(text)
    return peaks


def main(model: str, dtype: str, threads: int, runs: int, shapes: Sequence[str]) -> None:
    """Build and run one model; loading is building it with random weights."""
    answer, probe = take_stdout(), Probe()
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(threads)
    inputs = example_inputs(input_shapes(model, shapes))  # and all that the model imports is imported
    gc.collect()
    phases = {}

    probe.reset_peaks()
    phases["baseline"] = probe.read()

    probe.reset_peaks()
    module = build_module(model, shapes)
    if dtype != "float32":
        from edgebudget.measure.torchao import quantize

        quantize(module, dtype)
    phases["load"] = probe.read()

    allocator = allocator_peaks_aside(module, inputs)
    with torch.inference_mode():
        probe.reset_peaks()
        kept = [module(*inputs)]
        phases["first_inference"] = probe.read()

        probe.reset_peaks()
        for _ in range(runs - 1):
            kept.clear()  # a caller drops one answer before it asks for the next
            kept.append(module(*inputs))
        phases["steady_inference"] = probe.read()
    print(json.dumps({"phases": phases, "allocator": allocator}), file=answer)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
