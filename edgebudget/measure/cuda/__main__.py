"""`python -m edgebudget.measure.cuda`: the measurement on a GPU, with torch and torchvision alone."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from edgebudget.errors import EdgeBudgetError
from edgebudget.measure.cuda import campaign, suite
from edgebudget.measure.cuda.records import CudaMeasurement
from edgebudget.measure.cuda.telling import told
from edgebudget.measure.interface import Failure
from edgebudget.measure.suite import SUITE

EXAMPLE = "Example: python -m edgebudget.measure.cuda --suite --out cuda.jsonl --minutes 9"


def main(arguments: Sequence[str]) -> int:
    """Measure the suite into a file; return 0, or 2 after a sentence on stderr."""
    parser = argparse.ArgumentParser(prog="python -m edgebudget.measure.cuda", description=__doc__, epilog=EXAMPLE)
    parser.add_argument("--suite", action="store_true", required=True, help="the models of the recorded suite")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSON lines to add to, and to resume")
    parser.add_argument("--device", default="cuda", help="cuda (the default) or, for example, cuda:1")
    parser.add_argument("--minutes", type=float, help="begin no model after these; run again for the rest")
    parser.add_argument("--limit", type=int, metavar="N", help="at most this many models, for a first try")
    given = parser.parse_args(arguments)
    asked = suite.subjects(SUITE[: given.limit])
    counts = {"measured": 0, "failed": 0, "skipped": 0}

    skipped: set[str] = set()

    def tell(result: campaign.Result) -> None:
        counts[_kind(result)] += 1
        if isinstance(result, campaign.Skipped):
            if result.reason in skipped:
                return  # one sentence for all of a kind
            skipped.add(result.reason)
        print(told(result), file=sys.stderr, flush=True)

    try:
        seconds = None if given.minutes is None else 60 * given.minutes
        left = campaign.measure_to_file(asked, given.device, given.out, tell, seconds)
    except EdgeBudgetError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    said = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    print(f"{said}; {left} of {len(asked)} left{': run the same command again' if left else ''}.", file=sys.stderr)
    return 0


def _kind(result: campaign.Result) -> str:
    if isinstance(result, CudaMeasurement):
        return "measured"
    return "failed" if isinstance(result, Failure) else "skipped"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
