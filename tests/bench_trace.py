"""How long tracing and estimating take beside `torchinfo.summary`: `python -m tests.bench_trace [MODEL ...]`.

Prints a line a model and the median ratios: of the first trace in the process, in which torch runs operators for the
first time; of one at a batch size not met before, in which it works out what they return; and of the same again, in
which what is known of the model's blocks is written down. The last two are the best of several. Not a test: times
depend on the machine.
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
from edgebudget.sources.interface import LoadedModel
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


def bench(name: str) -> tuple[float, float, float, float]:
    """Return the milliseconds of the first trace with its estimates, of one at another batch size, of the first again,
    and of torchinfo's summary."""
    loaded = load_model(name)
    batches = iter([load_model(name, batch=batch) for batch in (2, 3, 4)])

    def ours(model: LoadedModel = loaded) -> None:
        graph = trace(model.module, model.args, model.kwargs)
        for dtype in DTYPES:
            estimate(graph, dtype=dtype, runtime="pytorch")

    first = best_ms(ours, 1)
    other = best_ms(lambda: ours(next(batches)), 3)
    again = best_ms(ours)
    real = torchvision.models.get_model(name, weights=None).eval()
    shape = tuple(loaded.args[0].shape)
    return first, other, again, best_ms(lambda: torchinfo.summary(real, input_size=shape, verbose=0), 2)


def main(names: list[str]) -> None:
    warnings.simplefilter("ignore")
    ratios: list[tuple[float, float, float]] = []
    print("| model | first, ms | other batch, ms | again, ms | torchinfo, ms | first | other batch | again |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for name in names or MODELS:
        first, other, again, summary = bench(name)
        ratios.append((first / summary, other / summary, again / summary))
        times = f"{first:.1f} | {other:.1f} | {again:.1f} | {summary:.1f}"
        print(f"| {name} | {times} | {ratios[-1][0]:.2f} | {ratios[-1][1]:.2f} | {ratios[-1][2]:.3f} |", flush=True)
    first, other, again = (median(column) for column in zip(*ratios, strict=True))
    of = f"trace and three dtypes, times torchinfo's, median of {len(ratios)}"
    print(f"=> {of}, of a model traced before | {again:.3f} | 0.067")
    print(f"=> {of}, at a batch size not met before | {other:.2f} | -")
    print(f"=> {of}, first in the process | {first:.2f} | -")


if __name__ == "__main__":
    main(sys.argv[1:])
