"""How long an answer takes beside what gives it otherwise: `python -m tests.bench_export [MODEL ...]`.

The same model through `torch.export`, and through ExecuTorch's lowering with its memory planner, all in this process.
Not a test: times depend on the machine.
"""

import sys
import time
import warnings
from collections.abc import Callable
from statistics import median

import torch
import torchvision
from executorch.exir import to_edge

from edgebudget.estimation import estimate
from edgebudget.sources import load_model
from edgebudget.tracing import trace

MODELS = ("mobilenet_v2", "mobilenet_v3_small", "resnet18", "squeezenet1_1")


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def bench(name: str) -> tuple[float, float, float]:
    """Return the seconds of trace and estimate, of `torch.export`, and of export, lowering and planning."""
    loaded = load_model(name)
    real = torchvision.models.get_model(name, weights=None).eval()
    args = (torch.zeros(tuple(loaded.args[0].shape)),)

    def ours() -> None:
        graph = trace(loaded.module, loaded.args, loaded.kwargs)
        estimate(graph, dtype="float32", runtime="executorch")

    exported = seconds(lambda: torch.export.export(real, args))
    lowered = seconds(lambda: to_edge(torch.export.export(real, args)).to_executorch())
    return seconds(ours), exported, lowered


def main(names: list[str]) -> None:
    warnings.simplefilter("ignore")
    bench(MODELS[0])  # imports and caches are nobody's work
    print("| model | edgebudget | torch.export | ratio | ExecuTorch lowered and planned | ratio |")
    print("|---|--:|--:|--:|--:|--:|")
    ratios = []
    for name in names or MODELS:
        own, exported, lowered = bench(name)
        ratios.append((own / exported, own / lowered))
        times = f"{own:.2f} s | {exported:.2f} s | 1/{exported / own:.0f} | {lowered:.2f} s | 1/{lowered / own:.0f}"
        print(f"| {name} | {times} |")
    for what, place in (("torch.export", 0), ("ExecuTorch's lowering and planner", 1)):
        print(
            f"=> one answer beside {what}, median of {len(ratios)} | 1/{1 / median(r[place] for r in ratios):.0f} | -"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
