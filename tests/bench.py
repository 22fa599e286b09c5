"""All benchmarks, with the machine they ran on: `python -m tests.bench [FOLDER of allocation problems]`."""

import os
import platform
import sys
from pathlib import Path

import torch

from tests import bench_export, bench_planner, bench_trace


def machine() -> str:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    load = os.getloadavg()[0]
    return (
        f"{names[0] if names else platform.processor()}, {os.cpu_count()} processors, {platform.system()}, Python "
        f"{platform.python_version()}, torch {torch.__version__}; load {load:.1f} when it started. Ratios are of times "
        "in this one run."
    )


def main(folders: list[str]) -> None:
    print(f"# Benchmarks\n\n{machine()}\n\n## Trace and three dtypes beside torchinfo\n\n```", flush=True)
    bench_trace.main([])
    print("```\n\n## One answer beside torch.export and ExecuTorch\n", flush=True)
    bench_export.main([])
    print("\n## Planner\n", flush=True)
    bench_planner.main(folders)


if __name__ == "__main__":
    main(sys.argv[1:])
