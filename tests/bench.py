"""All benchmarks, with the machine they ran on: `python -m tests.bench OUT.md [FOLDER of allocation problems]`.

Each is a program of its own, stopped after `SECONDS`; one that fails says so in its place and takes nothing from the
others. OUT is written when all are done. What a benchmark prints after `=> ` goes into the table at the top, which
README repeats (`python -m tests.write_gold`).
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
REPORT = ROOT / "reports" / "bench.md"
README = ROOT / "README.md"
BEGIN = "<!-- benchmark table: begin, written by python -m tests.write_gold -->"
END = "<!-- benchmark table: end -->"
SECONDS = 600
SIGN = "=> "
SECTIONS = {
    "Trace and three dtypes beside torchinfo": "tests.bench_trace",
    "One answer beside torch.export and ExecuTorch": "tests.bench_export",
    "Whole answers": "tests.bench_check",
    "Planner": "tests.bench_planner",
}


def machine() -> str:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    load = os.getloadavg()[0]
    return (
        f"{names[0] if names else platform.processor()}, {os.cpu_count()} processors, {platform.system()}, Python "
        f"{platform.python_version()}, torch {torch.__version__}; load {load:.1f} when it started. Ratios are of times "
        "in this one run."
    )


def section(module: str, arguments: list[str]) -> list[str]:
    """Return the lines that a benchmark prints, or why there are none."""
    command = [sys.executable, "-m", module, *arguments]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as late:
        said = (late.stdout or b"").decode().splitlines()
        return [*said, "", f"Stopped after {SECONDS} s."]
    if done.returncode:
        return [*done.stdout.splitlines(), "", f"Failed: {done.stderr.strip().splitlines()[-1:]}"]
    return done.stdout.splitlines()


def document(folders: list[str]) -> str:
    """Run all benchmarks and return the report."""
    about, summary, sections = machine(), ["| what | measured | aim |", "|---|--:|--:|"], []
    for title, module in SECTIONS.items():
        print(title, file=sys.stderr, flush=True)
        lines = section(module, folders if module == "tests.bench_planner" else [])
        summary += [f"| {line.removeprefix(SIGN)} |" for line in lines if line.startswith(SIGN)]
        sections.append("\n".join([f"## {title}", "", *(line for line in lines if not line.startswith(SIGN))]).rstrip())
    table = "\n".join([*summary, "", about])
    return "\n\n".join(["# Benchmarks", f"{BEGIN}\n\n{table}\n\n{END}", *sections]) + "\n"


def block(text: str) -> str:
    """Return the table between the marks of a document, the marks with it."""
    return text[text.index(BEGIN) : text.index(END)]


def readme() -> str:
    """Return the README with the table of the report in it."""
    text = README.read_text(encoding="utf-8")
    return text.replace(block(text), block(REPORT.read_text(encoding="utf-8")))


def main(out: Path, folders: list[str]) -> None:
    out.write_text(document(folders), encoding="utf-8")
    if out.resolve() == REPORT:
        README.write_text(readme(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
