"""The error table as the code of today gives it, for the README and `reports/validation.md`."""

import re
from functools import cache
from pathlib import Path

from edgebudget.calibration.store import shipped
from edgebudget.evidence import recorded_gpu_measurements, recorded_measurements
from edgebudget.validation.compare import Comparison
from edgebudget.validation.document import document
from edgebudget.validation.recorded import compared, compared_on_gpu, judged
from edgebudget.validation.table import error_table

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
REPORT = ROOT / "reports" / "validation.md"
BLOCK = re.compile(r"(<!-- error table: begin[^>]*-->\n)(.*?)(<!-- error table: end -->)", re.DOTALL)


@cache
def comparisons() -> tuple[Comparison, ...]:
    """Return every figure of the models to judge by."""
    on_gpu = compared_on_gpu(recorded_gpu_measurements())
    return (*compared(recorded_measurements("judge"), "judge"), *on_gpu)


def report() -> str:
    """Return what `make validate` writes to `reports/validation.md`."""
    measurements = recorded_measurements("judge")
    verdicts = tuple(judged(measurements, shipped()))
    return document(measurements, comparisons(), verdicts, with_models=True)


def readme() -> str:
    """Return the README with today's error table in its block."""
    table = error_table(comparisons())
    return BLOCK.sub(lambda block: f"{block[1]}\n{table}\n{block[3]}", README.read_text(encoding="utf-8"))
