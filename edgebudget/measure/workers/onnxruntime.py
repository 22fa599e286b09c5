"""Worker: `python -m edgebudget.measure.workers.onnxruntime MODEL.onnx THREADS RUNS SHAPE...`."""

import gc
import json
import sys

import numpy
import onnxruntime

from edgebudget.measure.workers.probe import Probe, take_stdout


def main(path: str, threads: int, runs: int, shapes: list[str]) -> None:
    """Load and run one ONNX model with the default options but for the threads; the inputs are zeros."""
    answer, probe = take_stdout(), Probe()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    arrays = []
    for shape in shapes:
        sizes, dtype = shape.split(":")
        arrays.append(numpy.zeros([int(size) for size in sizes.split("x")], dtype))
        arrays[-1].fill(0)  # the pages of the inputs are the caller's: touch them before the baseline
    gc.collect()
    phases = {}

    probe.reset_peaks()
    phases["baseline"] = probe.read()

    probe.reset_peaks()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    phases["load"] = probe.read()

    feeds = {value.name: array for value, array in zip(session.get_inputs(), arrays, strict=True)}
    probe.reset_peaks()
    kept = [session.run(None, feeds)]
    phases["first_inference"] = probe.read()

    probe.reset_peaks()
    for _ in range(runs - 1):
        kept.clear()  # a caller drops one answer before it asks for the next
        kept.append(session.run(None, feeds))
    phases["steady_inference"] = probe.read()
    print(json.dumps({"phases": phases}), file=answer)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
