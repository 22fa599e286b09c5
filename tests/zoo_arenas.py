"""What ExecuTorch's planner is given for every model of a zoo: `python -m tests.zoo_arenas OUT.jsonl 'timm:*' ...`.

One JSON line a model: its name and its buffers (bytes, first, last), or the error that there were none. A run that was
stopped goes on where it was; `python -m tests.bench_planner OUT.jsonl` plans them.
"""

import json
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from edgebudget.errors import EdgeBudgetError
from edgebudget.sources import expand_models

SECONDS = 300.0
MODELS_PER_PROCESS = 100  # models leave things behind: a process that goes on for ever only grows


def arena(name: str) -> dict[str, object]:
    """Return the line of a model."""
    from edgebudget.dtypes import DTYPES
    from edgebudget.runtimes import RUNTIMES
    from edgebudget.runtimes.interface import Unsupported
    from edgebudget.sources import load_model
    from edgebudget.target import GENERIC
    from edgebudget.tracing import trace

    warnings.simplefilter("ignore")
    try:
        loaded = load_model(name)
        graph = trace(loaded.module, loaded.args, loaded.kwargs)
        layout = RUNTIMES.get("executorch").lay_out(graph, DTYPES.get("float32"), GENERIC)
    except EdgeBudgetError as error:
        return {"model": name, "error": str(error)}
    if isinstance(layout, Unsupported) or layout.arena is None:
        return {"model": name, "error": layout.reason if isinstance(layout, Unsupported) else "no arena"}
    return {"model": name, "buffers": [[b.nbytes, b.first, b.last] for b in layout.arena.buffers]}


def main(out: Path, patterns: list[str]) -> None:
    known = [json.loads(line)["model"] for line in out.read_text("utf-8").splitlines()] if out.exists() else []
    left = [name for name in expand_models(tuple(patterns)) if name not in set(known)]
    while left:
        pool = ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=MODELS_PER_PROCESS)
        try:
            while left:
                name = left.pop(0)
                try:
                    line = pool.submit(arena, name).result(SECONDS)
                except (TimeoutError, BrokenProcessPool) as error:
                    line = {"model": name, "error": f"{type(error).__name__} after at most {SECONDS:g} s"}
                    break
                finally:
                    with out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(line, separators=(",", ":")) + "\n")
        finally:
            for process in list((pool._processes or {}).values()):
                process.kill()
            pool.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
