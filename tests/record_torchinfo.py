"""Record what torchinfo says each model of the suite takes: `python -m tests.record_torchinfo`, which takes minutes.

Its "Estimated Total Size": parameters, inputs, and the outputs of every module summed ("forward/backward pass size").
"""

import csv

import torch
import torchinfo

from edgebudget.evidence import TORCHINFO
from edgebudget.measure.models import build_model
from edgebudget.measure.suite import SUITE


def total_bytes(model: str, inputs: tuple[str, ...]) -> int:
    """Return torchinfo's total for a model with inputs as `measure` writes them, in bytes."""
    built = build_model(model, inputs)
    with torch.inference_mode():
        summary = torchinfo.summary(built.module, input_data=list(built.inputs), verbose=0)
    return int(summary.total_input + summary.total_output_bytes + summary.total_param_bytes)


if __name__ == "__main__":
    with TORCHINFO.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["model", "inputs", "total_bytes"])
        for entry in SUITE:
            rows.writerow([entry.model, " ".join(entry.inputs), total_bytes(entry.model, entry.inputs)])
            print(entry.model, flush=True)
