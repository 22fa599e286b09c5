"""How fast planners are and how near the lower bound: `python -m tests.bench_planner [FOLDER]`.

FOLDER may hold allocation problems as minimalloc publishes them (CSV: id, lower, upper, size; the capacity is in the
name, `A.1048576.csv`); OR-tools is asked for those too. Not a test: times depend on the machine.
"""

import csv
import random
import sys
import time
import warnings
from importlib.util import find_spec
from pathlib import Path

import torchvision

from edgebudget.dtypes import DTYPES
from edgebudget.errors import EdgeBudgetError
from edgebudget.planning import Buffer, greedy_by_size, lower_bound, verify_plan
from edgebudget.planning.best import best_plan
from edgebudget.planning.exact import plan_within
from edgebudget.planning.executorch_greedy import executorch_greedy
from edgebudget.runtimes import RUNTIMES
from edgebudget.runtimes.interface import Unsupported
from edgebudget.sources import load_model
from edgebudget.target import GENERIC
from edgebudget.tracing import trace

ALIGNMENT = 16
EXACT_SECONDS = 60.0


def chain(count: int, longest: int) -> list[Buffer]:
    """Return buffers of random sizes, one made by each operator and alive for up to `longest` more."""
    numbers = random.Random(0)
    return [Buffer(i, numbers.randint(1, 2**20), i, i + numbers.randint(1, longest)) for i in range(count)]


def speed() -> None:
    print("| buffers | alive at once | greedy by size | per doubling |\n|--:|--:|--:|--:|")
    for longest in (5, 20):
        before = 0.0
        for count in (25_000, 50_000, 100_000):
            buffers = chain(count, longest)
            start = time.process_time()
            greedy_by_size(buffers)
            taken = time.process_time() - start
            print(f"| {count:,} | {longest // 2} | {taken:.2f} s | {f'x {taken / before:.2f}' if before else ''} |")
            before = taken


def zoo() -> None:
    """Every torchvision classification model, as ExecuTorch's planner is given it."""
    within, above, count, search_seconds = 0, 0, 0, 0.0
    worst = (0.0, "")
    for name in torchvision.models.list_models(torchvision.models):
        loaded = load_model(name)
        try:
            graph = trace(loaded.module, loaded.args, loaded.kwargs)
            layout = RUNTIMES.get("executorch").lay_out(graph, DTYPES.get("float32"), GENERIC)
        except EdgeBudgetError as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        if isinstance(layout, Unsupported) or layout.arena is None:
            continue
        buffers = [b._replace(nbytes=-(-b.nbytes // ALIGNMENT) * ALIGNMENT) for b in layout.arena.buffers]
        start = time.process_time()
        best = best_plan(buffers, ALIGNMENT)
        search_seconds += time.process_time() - start
        verify_plan(best, ALIGNMENT)
        ratio = best.nbytes / lower_bound(buffers)
        count += 1
        within += ratio <= 1.01
        above += best.nbytes > executorch_greedy(buffers, ALIGNMENT).nbytes
        worst = max(worst, (ratio, name))
    print(
        f"\n{count} models of torchvision's classification zoo: {within} within 1 % of the lower bound, {above} above"
    )
    print(f"ExecuTorch's greedy, worst {worst[0]:.3f} ({worst[1]}); {search_seconds:.1f} s for all plans.")


def problems(folder: Path) -> None:
    print("\n| problem | buffers | greedy by size | ExecuTorch's | best_plan | time | exact | time |")
    print("|---|--:|--:|--:|--:|--:|---|--:|")
    for path in sorted(folder.glob("*.csv")):
        with path.open(encoding="utf-8") as file:
            rows = [(int(r["size"]), int(r["lower"]), int(r["upper"]) - 1) for r in csv.DictReader(file)]
        buffers = [Buffer(i, *row) for i, row in enumerate(rows)]
        capacity = int(path.name.split(".")[1])
        start = time.perf_counter()
        best = best_plan(buffers)
        middle = time.perf_counter()
        exact = plan_within(buffers, capacity, EXACT_SECONDS, workers=2) if find_spec("ortools") else None
        end = time.perf_counter()
        if exact is not None:
            verify_plan(exact)
        sizes = (greedy_by_size(buffers).nbytes, executorch_greedy(buffers, 1).nbytes, best.nbytes)
        ratios = " | ".join(f"{nbytes / capacity:.3f}" for nbytes in sizes)
        found = "fits" if exact else "not found"
        print(f"| {path.name} | {len(buffers)} | {ratios} | {middle - start:.1f} s | {found} | {end - middle:.1f} s |")


def main(folders: list[str]) -> None:
    warnings.simplefilter("ignore")
    speed()
    zoo()
    for folder in folders:
        problems(Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
