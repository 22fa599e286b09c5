"""How long whole answers take, processes and all: `python -m tests.bench_check`.

Processor time, user and system together, best of three: what a quiet machine shows on the clock. Not a test: times
depend on the machine.
"""

import gc
import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.test_large_transformer import MODEL, RUN

ROOT = Path(__file__).parents[1]
TIMES = 3
OWN = (sys.executable, "-m", "edgebudget")


def processor_seconds(*command: str, times: int = TIMES) -> float:
    """Return the processor time of a command and its children, the best of `times`; its exit code may be 0 or 1."""
    # Bytecode is kept, as it is where the package is installed, and the first of several runs is left to write it.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["OMP_NUM_THREADS"] = "1"
    taken = []
    for _ in range(times):
        before = os.times()
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
        after = os.times()
        if done.returncode not in (0, 1):
            raise SystemExit(f"{' '.join(command)}: {done.stderr.decode()}")
        taken.append(after.children_user - before.children_user + after.children_system - before.children_system)
    return min(taken)


def commands() -> None:
    python = sys.executable
    framework = processor_seconds(python, "-c", "import typer, typer._adapters")
    print(f"Python and its command line library alone: {framework:.2f} s.\n\n| command | seconds |\n|---|--:|")
    longest = 0.0
    for words in (["--help"], ["devices", "show", "raspberrypi"], ["devices", "list"], ["devices", "lint"]):
        taken = processor_seconds(*OWN, *words)
        longest = max(longest, taken)
        print(f"| `edgebudget {' '.join(words)}` | {taken:.2f} |", flush=True)
    print(f"=> a command that needs no model, at most | {longest:.2f} s | 0.25 s")
    bare = processor_seconds(python, "-c", "import torch, torchvision")
    own = processor_seconds(*OWN, "check", "mobilenet_v2", "--device", "raspberrypi")
    print(f"| `python -c 'import torch, torchvision'` | {bare:.2f} |")
    print(f"| `edgebudget check mobilenet_v2 --device raspberrypi` | {own:.2f} |")
    print(f"=> one `check`, times the bare imports that it needs | {own / bare:.2f} | 1.15")


def zoo() -> None:
    """Every classification model of torchvision, three dtypes, all profiles, in this process after its imports.

    The verdicts are kept, and the layouts behind them let go, as `pipeline.run` does.
    """
    import torchvision

    from edgebudget.__main__ import YOUNG_OBJECTS
    from edgebudget.calibration.store import load_calibrations
    from edgebudget.pipeline import Checked, Request, check_model, resolve_asked
    from edgebudget.verdict import CheckResult

    warnings.simplefilter("ignore")
    gc.set_threshold(YOUNG_OBJECTS)  # as the command does for its process
    request = Request(resolve_asked(["all"]), calibrations=load_calibrations(None))
    check_model("alexnet", request)  # imports and files that are read once are nobody's work
    start = time.process_time()
    names = torchvision.models.list_models(torchvision.models)
    results: list[CheckResult] = []
    for name in names:
        outcome = check_model(name, request)
        results += outcome.results if isinstance(outcome, Checked) else ()
    taken = time.process_time() - start
    print(f"\n{len(names)} models on {len(request.devices)} devices: {len(results):,} verdicts in {taken:.1f} s.")
    print(f"=> torchvision's {len(names)} classification models x 3 dtypes x all profiles | {taken:.1f} s | 12 s")


def transformer() -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.py"
        path.write_text(MODEL, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", RUN, f"{path}:seventy"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    seconds, nbytes, numels, _ = json.loads(done.stdout)
    print(f"\nA transformer of {numels[0]:,} parameters takes {seconds:.1f} s and {nbytes / 2**20:.0f} MiB.")
    print(f"=> a transformer of 70 billion parameters | {seconds:.1f} s, {nbytes / 1e6:.0f} MB | 10 s, 300 MB")


def main() -> None:
    commands()
    transformer()
    zoo()


if __name__ == "__main__":
    main()
