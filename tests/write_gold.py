"""Write the gold files of the reporters, the samples of reports, the error table and the profiles' figures anew, to be
read before a commit.

`python -m tests.write_gold`
"""

from edgebudget.reporters import REPORTERS
from tests import bench, profile_figures, samples, validated
from tests.handmade import GOLD, REPORT

if __name__ == "__main__":
    for _, reporter in REPORTERS:
        (GOLD / f"report{reporter.suffix}").write_text(reporter.render(REPORT), encoding="utf-8")
    validated.REPORT.write_text(validated.report(), encoding="utf-8")
    validated.README.write_text(validated.readme(), encoding="utf-8")
    bench.README.write_text(bench.readme(), encoding="utf-8")
    profile_figures.write()
    samples.write_samples()
