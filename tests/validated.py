"""The error table as the code of today gives it, for the README and `reports/validation.md`."""

import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from edgebudget.calibration.recorded import LeavingOut
from edgebudget.evidence import DATA, recorded_gpu_measurements, recorded_measurements
from edgebudget.measure.suite import PARTS
from edgebudget.validation.board_cases import boards_of, confusion_table, parse_cases
from edgebudget.validation.board_questions import Part
from edgebudget.validation.compare import Comparison
from edgebudget.validation.document import LEFT_OUT, document
from edgebudget.validation.recorded import compared, compared_on_gpu, judged
from edgebudget.validation.table import overview_table
from edgebudget.validation.verify_verdicts import cases_file, verified

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
REPORT = ROOT / "reports" / "validation.md"
BLOCK = re.compile(r"(<!-- error table: begin[^>]*-->\n)(.*?)(<!-- error table: end -->)", re.DOTALL)
README_MODELS = 10  # of fewer the 95th percentile is the worst one
VERDICTS = re.compile(r"(<!-- verdict table: begin[^>]*-->\n)(.*?)(<!-- verdict table: end -->)", re.DOTALL)

TITLES: Mapping[Part, str] = {"judge": "Judged by", "build": "Built on"}


@cache
def comparisons() -> tuple[Comparison, ...]:
    """Return every figure of the models to judge by."""
    on_gpu = compared_on_gpu(recorded_gpu_measurements())
    return (*compared(recorded_measurements("judge"), "judge"), *on_gpu)


@cache
def left_out() -> LeavingOut:
    """Return the fits by which each family is judged: to all recorded measurements but its own."""
    return LeavingOut(recorded_measurements(*PARTS))


def report() -> str:
    """Return what `make validate` writes to `reports/validation.md`."""
    measurements = recorded_measurements("judge")
    return document(measurements, comparisons(), tuple(judged(measurements, left_out())), LEFT_OUT, with_models=True)


def verdicts() -> str:
    """Return what a check of today says of the recorded cases on boards, beside how they ended."""
    tables = []
    for part, title in TITLES.items():
        path = cases_file(DATA, part)
        cases = parse_cases(path.read_text(encoding="utf-8"), path.name)
        tables.append(
            f"{title}, {len(cases)} cases: {boards_of(cases)}.\n\n{confusion_table(verified(cases, left_out()))}"
        )
    return "\n".join(tables)


def _group(comparison: Comparison) -> tuple[str, ...]:
    return (comparison.machine, comparison.runtime, comparison.dtype, comparison.figure)


def readme() -> str:
    """Return the README with today's tables in their blocks: of errors, what was measured on ten models or more."""
    text = README.read_text(encoding="utf-8")
    models = Counter(_group(comparison) for comparison in comparisons())
    errors = [comparison for comparison in comparisons() if models[_group(comparison)] >= README_MODELS]
    for block, table in ((BLOCK, overview_table(errors)), (VERDICTS, verdicts())):
        text = block.sub(lambda found, table=table: f"{found[1]}\n{table}\n{found[3]}", text)  # type: ignore[misc]
    return text
