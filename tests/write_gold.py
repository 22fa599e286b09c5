"""Write the gold files of the reporters and the error table anew, to be read before they are committed.

`python -m tests.write_gold`
"""

from edgebudget.reporters import REPORTERS
from tests import validated
from tests.handmade import GOLD, REPORT

if __name__ == "__main__":
    for _, reporter in REPORTERS:
        (GOLD / f"report{reporter.suffix}").write_text(reporter.render(REPORT), encoding="utf-8")
    validated.REPORT.write_text(validated.report(), encoding="utf-8")
    validated.README.write_text(validated.readme(), encoding="utf-8")
