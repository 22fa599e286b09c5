"""How fast planners are and how near the lower bound: `python -m tests.bench_planner [FOLDER | ARENAS.jsonl ...]`.

A FOLDER holds allocation problems as minimalloc publishes them (CSV: id, lower, upper, size; the capacity is in the
name, `A.1048576.csv`); OR-tools is asked for those too. ARENAS is what `python -m tests.zoo_arenas` wrote; without one,
torchvision's classification models are planned. Not a test: times depend on the machine.
"""

import csv
import json
import random
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path

import torchvision

from edgebudget.planning import Buffer, best_plan, greedy_by_size, lower_bound, plan_within, verify_plan
from edgebudget.planning.executorch_greedy import executorch_greedy
from tests.zoo_arenas import arena

ALIGNMENT = 16
EXACT_SECONDS = 30.0
COUNTS = (12_500, 25_000, 50_000, 100_000, 200_000)
SMALL = 3_000  # where ExecuTorch's greedy takes no minutes


def _lasting(longest: int) -> Callable[[int, random.Random], int]:
    return lambda count, numbers: numbers.randint(1, longest)


LIFETIMES: dict[str, Callable[[int, random.Random], int]] = {
    "1 to 5 operators": _lasting(5),
    "1 to 20 operators": _lasting(20),
    "1 to 1,000 operators": _lasting(1_000),
    "any octave alike": lambda count, numbers: int(2 ** numbers.uniform(0, count.bit_length())),
    "to any later operator": lambda count, numbers: numbers.randint(0, count),
    "to the end": lambda count, numbers: 2 * count,
}


def buffers_of(kind: str, count: int) -> list[Buffer]:
    """Return `count` buffers of random sizes, one made by each operator."""
    numbers = random.Random(0)
    return [Buffer(i, numbers.randint(1, 2**20), i, i + LIFETIMES[kind](count, numbers)) for i in range(count)]


def speed() -> None:
    counts = " | ".join(f"{count:,}" for count in COUNTS)
    print(f"Seconds of `best_plan` on random sizes, and how they grow with each doubling; at {SMALL:,}, its arena and")
    print("that of ExecuTorch's greedy over the lower bound.\n")
    print(f"| alive for | {counts} | growth | over the bound, {COUNTS[-2]:,} | {SMALL:,} | ExecuTorch's, {SMALL:,} |")
    print(f"|---|{'--:|' * (len(COUNTS) + 4)}")
    slowest, grows = 0.0, 0.0
    for kind in LIFETIMES:
        taken, ratios = [], []
        for count in COUNTS:
            buffers = buffers_of(kind, count)
            start = time.process_time()
            plan = best_plan(buffers)
            taken.append(time.process_time() - start)
            ratios.append(plan.nbytes / lower_bound(buffers))
            if count <= COUNTS[-2]:
                verify_plan(plan)
        few = buffers_of(kind, SMALL)
        best, theirs = (
            planner(few).nbytes / lower_bound(few) for planner in (best_plan, lambda b: executorch_greedy(b, 1))
        )
        growth = (taken[-1] / taken[0]) ** (1 / (len(COUNTS) - 1))
        slowest, grows = max(slowest, taken[-2]), max(grows, growth)
        times = " | ".join(f"{seconds:.2f}" for seconds in taken)
        print(f"| {kind} | {times} | x {growth:.2f} | {ratios[-2]:.3f} | {best:.3f} | {theirs:.3f} |", flush=True)
    print(f"=> the planner, {COUNTS[-2]:,} buffers, slowest kind of lifetimes | {slowest:.1f} s | 2 s")
    print(f"=> its growth with each doubling, at most | x {grows:.2f} | x 2.1 is n log n")


def zoo(lines: Iterable[dict[str, object]]) -> None:
    """Plan what ExecuTorch's planner is given for each model, and count."""
    print("\n| zoo | models | within 1 % of the bound | ExecuTorch's greedy within 1 % | above it | worst | seconds |")
    print("|---|--:|--:|--:|--:|---|--:|")
    rows: dict[str, list[tuple[float, float, str, float]]] = {}
    refused = 0
    for line in lines:
        name, blocks = str(line["model"]), line.get("buffers")
        if not isinstance(blocks, list):
            refused += 1
            continue
        buffers = [Buffer(i, -(-n // ALIGNMENT) * ALIGNMENT, first, last) for i, (n, first, last) in enumerate(blocks)]
        bound = max(lower_bound(buffers), 1)
        start = time.process_time()
        best = best_plan(buffers, ALIGNMENT)
        taken = time.process_time() - start
        verify_plan(best, ALIGNMENT)
        theirs = executorch_greedy(buffers, ALIGNMENT).nbytes / bound
        rows.setdefault(name.partition(":")[0], []).append((best.nbytes / bound, theirs, name, taken))
    for kind, found in rows.items():
        ratio, _, worst, _ = max(found)
        near, near_theirs = (sum(row[k] <= 1.01 for row in found) for k in (0, 1))
        above = sum(row[0] > row[1] for row in found)
        seconds = sum(row[3] for row in found)
        count = len(found)
        print(f"=> arenas within 1 % of the lower bound, {kind} | {near} of {count} | {-(-count * 95 // 100)}")
        print(f"=> arenas above ExecuTorch's greedy, {kind} | {above} of {count} | 0")
        print(f"| {kind} | {len(found)} | {near} | {near_theirs} | {above} | {ratio:.4f} ({worst}) | {seconds:.1f} |")
    if refused:
        print(f"\n{refused} models have no arena: they cannot be traced whole, or ExecuTorch has no kernel for them.")


def classification() -> Iterable[dict[str, object]]:
    for name in torchvision.models.list_models(torchvision.models):
        yield arena(f"torchvision:{name}")


def problems(folder: Path) -> None:
    print("\n| problem | buffers | greedy by size | ExecuTorch's | best_plan | time | plan_within | time |")
    print("|---|--:|--:|--:|--:|--:|---|--:|")
    fit = total = 0
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
        fit, total = fit + (exact is not None), total + 1
        print(
            f"| {path.stem} | {len(buffers)} | {ratios} | {middle - start:.1f} s | {found} | {end - middle:.1f} s |",
            flush=True,
        )
    print(f"=> minimalloc's problems that fit 1 MiB, within {EXACT_SECONDS:g} s each | {fit} of {total} | all")


def main(paths: list[str]) -> None:
    warnings.simplefilter("ignore")
    arenas = [Path(path) for path in paths if path.endswith(".jsonl")]
    if arenas:
        zoo(json.loads(line) for path in arenas for line in path.read_text("utf-8").splitlines())
    else:
        speed()
        zoo(classification())
    for path in paths:
        if Path(path) not in arenas:
            problems(Path(path))


if __name__ == "__main__":
    main(sys.argv[1:])
