"""Lower models with executorch itself and write down what it plans.

`python tests/record_executorch_planned.py MODEL...`

Appends rows to `edgebudget/calibration/data/executorch_planned.csv`, which `test_executorch_planned.py` holds the model
of the runtime to. Weights are random and all different: executorch stores equal constants once, and the constant ones
that layers start from would make the file smaller than a trained model's.
"""

import csv
import sys
import time
from importlib.metadata import version
from pathlib import Path

import torch
from executorch.exir import to_edge

from edgebudget.sources import load_model

RECORD = Path(__file__).parents[1] / "edgebudget" / "calibration" / "data" / "executorch_planned.csv"
PACKAGES = ("executorch", "torch", "torchvision", "timm")


def record(model: str) -> dict[str, object]:
    """Return the row of `model`: planned bytes, size of the file, CPU seconds from `torch.export` to the program."""
    loaded = load_model(model)
    module = loaded.module.to_empty(device="cpu").eval()
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            torch.nn.init.normal_(tensor.data)
    inputs = tuple(torch.zeros(x.shape, dtype=x.dtype) for x in loaded.args if isinstance(x, torch.Tensor))
    started = time.process_time()
    program = to_edge(torch.export.export(module, inputs)).to_executorch()
    seconds = time.process_time() - started
    planned = program.executorch_program.execution_plan[0].non_const_buffer_sizes
    return {
        "model": model,
        "inputs": " ".join(f"{'x'.join(map(str, x.shape))}:{str(x.dtype).removeprefix('torch.')}" for x in inputs),
        "planned_bytes": sum(planned),
        "pte_bytes": len(program.buffer),
        "lowering_cpu_seconds": round(seconds, 2),
        **{package: version(package) for package in PACKAGES},
    }


def main() -> None:
    with RECORD.open("a", newline="", encoding="utf-8") as file:
        for model in sys.argv[1:]:
            row = record(model)
            csv.DictWriter(file, row.keys(), lineterminator="\n").writerow(row)
            file.flush()


if __name__ == "__main__":
    main()
