"""How long tracing and estimating take beside `torchinfo.summary`: `python -m tests.bench_trace [MODEL ...]`.

Prints a line a model and the median ratios, of the first trace in the process, in which torch works out what operators
return, and of the best of five later ones. Not a test: times depend on the machine.
"""

import sys
import time
import warnings
from collections.abc import Callable
from statistics import median

import torchinfo
import torchvision

from edgebudget.estimation import estimate
from edgebudget.sources import load_model
from edgebudget.tracing import trace

MODELS = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3",
    "maxvit_t", "mnasnet1_0", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "regnet_y_400mf", "resnet18",
    "resnet50", "shufflenet_v2_x1_0", "squeezenet1_1", "swin_t", "vgg16", "vit_b_16",
)  # fmt: skip
DTYPES = ("float32", "float16", "int8")


def best_ms(run: Callable[[], object], times: int = 5) -> float:
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return 1e3 * min(taken)


def bench(name: str) -> tuple[float, float, float]:
    """Return the milliseconds of the first trace with its estimates, of a later one, and of torchinfo's summary."""
    loaded = load_model(name)

    def ours() -> None:
        graph = trace(loaded.module, loaded.args, loaded.kwargs)
        for dtype in DTYPES:
            estimate(graph, dtype=dtype, runtime="pytorch")

    first, later = best_ms(ours, 1), best_ms(ours)
    real = torchvision.models.get_model(name, weights=None).eval()
    shape = tuple(loaded.args[0].shape)
    return first, later, best_ms(lambda: torchinfo.summary(real, input_size=shape, verbose=0), 2)


def main(names: list[str]) -> None:
    warnings.simplefilter("ignore")
    first_ratios, later_ratios = [], []
    print("| model | first, ms | later, ms | torchinfo, ms | first | later |\n|---|--:|--:|--:|--:|--:|")
    for name in names or MODELS:
        first, later, summary = bench(name)
        first_ratios.append(first / summary)
        later_ratios.append(later / summary)
        ratios = f"{first / summary:.2f} | {later / summary:.3f}"
        print(f"| {name} | {first:.1f} | {later:.1f} | {summary:.1f} | {ratios} |", flush=True)
    of = f"trace and three dtypes, times torchinfo's, median of {len(later_ratios)}"
    print(f"=> {of} | {median(later_ratios):.3f} | 0.067")
    print(f"=> {of}, first in the process | {median(first_ratios):.2f} | -")


if __name__ == "__main__":
    main(sys.argv[1:])
