"""Recorded peaks of PyTorch's CPU allocator, the estimate for each, and which of them judge.

Models are split by family, the letters their name starts with, so that no relative of a model that was looked at while
the handlers were written judges them: families in `_LOOKED_AT` and those whose hash is odd are for building, the rest
judge.
"""

import csv
import hashlib
import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from functools import cache
from pathlib import Path

import torch

from edgebudget.dtypes import DTYPES
from edgebudget.graph import Role, TracedGraph
from edgebudget.measure.workers.pytorch_cpu import allocator_events, peak_of
from edgebudget.runtimes import RUNTIMES
from edgebudget.runtimes.interface import MemoryLayout
from edgebudget.sources import load_model
from edgebudget.target import Target
from edgebudget.tracing import trace

DATA = Path(__file__).parents[1] / "edgebudget/calibration/data/pytorch_cpu_allocator.csv"
_LOOKED_AT = frozenset(("resnet", "mobilenet", "efficientnet", "vit", "convnext", "swin", "resnext", "shufflenet"))
TARGETS = {("avx512", True): Target("x86-64"), ("avx2", True): Target("x86-64-v3")}
WITHOUT_ONEDNN = Target("armv7-a", pointer_bits=32)  # whose builds of PyTorch lack oneDNN: the same kernels as here


@dataclass(frozen=True, slots=True)
class Measurement:
    """One model's first forward; `peak_bytes` is over weights and inputs."""

    model: str
    inputs: str
    dtype: str
    onednn: bool
    torch: str
    isa: str
    threads: int
    peak_bytes: int

    @property
    def key(self) -> tuple[str, str, bool, str]:
        return (self.model, self.dtype, self.onednn, self.isa)

    @property
    def judges(self) -> bool:
        found = re.match(r"[a-z]+", self.model.removeprefix("timm:"))
        family = found.group() if found else self.model
        return family not in _LOOKED_AT and hashlib.sha256(family.encode()).digest()[0] % 2 == 0

    @property
    def target(self) -> Target:
        return TARGETS.get((self.isa, self.onednn), WITHOUT_ONEDNN)


def real_peak_bytes(module: torch.nn.Module, args: Sequence[torch.Tensor]) -> int:
    """Return the most bytes alive during a forward, over what was alive before it."""
    torch.set_num_threads(1)
    with torch.inference_mode():
        torch.nn.functional.conv2d(torch.ones(1, 3, 8, 8), torch.ones(4, 3, 3, 3))  # loads what loads once a process
    return peak_of(allocator_events(module, args))


def read() -> dict[tuple[str, str, bool, str], Measurement]:
    """Return the recorded measurements by what was measured."""
    if not DATA.exists():
        return {}
    with DATA.open(newline="") as file:
        rows = [
            Measurement(
                row["model"], row["inputs"], row["dtype"], row["onednn"] == "True", row["torch"], row["isa"],
                int(row["threads"]), int(row["peak_bytes"]),
            )
            for row in csv.DictReader(file)
        ]  # fmt: skip
    return {row.key: row for row in rows}


def write(rows: dict[tuple[str, str, bool, str], Measurement]) -> None:
    with DATA.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(Measurement)])
        writer.writerows(astuple(rows[key]) for key in sorted(rows))


def predicted(measured: Measurement) -> tuple[int, MemoryLayout]:
    """Return the estimated peak over weights and inputs, and the layout it comes from."""
    return predicted_for(_graph(measured.model), measured.dtype, measured.target)


def predicted_for(graph: TracedGraph, dtype: str, target: Target) -> tuple[int, MemoryLayout]:
    option = DTYPES.get(dtype)
    layout = RUNTIMES.get("pytorch").lay_out(graph, option, target)
    assert isinstance(layout, MemoryLayout)
    held = option.assign(graph)
    inputs = sum(held[s.id].total_nbytes for s in graph.of_role(Role.INPUT))
    return layout.activation_bytes + layout.workspace_bytes - inputs, layout


@cache
def _graph(model: str) -> TracedGraph:
    loaded = load_model(model, ())
    return trace(loaded.module, loaded.args)
