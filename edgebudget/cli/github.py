"""The summary of a step of GitHub Actions: a page of Markdown that the runner shows for what is put into a file."""

import os
from pathlib import Path

from edgebudget.cli.output import append_text
from edgebudget.report import Report
from edgebudget.reporters.md import MarkdownReporter, verdicts

VARIABLE = "GITHUB_STEP_SUMMARY"

MOST_BYTES = 1024 * 1024
"""What a runner takes of one step (docs of Actions, "Adding a job summary"); it shows nothing of a longer one."""


def append_step_summary(report: Report) -> None:
    """Append `report` to the step's summary where a runner has named its file: whole, or its verdicts alone where the
    whole would be too long. Raises OutputError."""
    name = os.environ.get(VARIABLE, "")
    if not name:
        return
    path = Path(name)
    left_bytes = MOST_BYTES - (path.stat().st_size if path.is_file() else 0)
    whole = MarkdownReporter().render(report) + "\n"
    append_text(path, whole if len(whole.encode("utf-8", "replace")) < left_bytes else verdicts(report) + "\n")
