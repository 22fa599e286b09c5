"""The sample of every report under `reports/`, and the README's picture of one: `make samples` writes them anew.

`python -m tests.samples`
"""

import io
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from edgebudget.inspection.formats import FORMATS
from edgebudget.inspection.load import inspect_model
from edgebudget.inspection.rows import Selection
from edgebudget.pipeline import DEFAULT_DTYPES, Request, resolve_asked, run
from edgebudget.report import Report
from edgebudget.reporters import REPORTERS
from edgebudget.timeline import TIMELINES
from tests.browser import CHROMIUM, chromium, opened

REPORTS = Path(__file__).parents[1] / "reports"
PICTURE = REPORTS / "report.png"
MODELS = ("mobilenet_v2", "resnet18")
DEVICES = ("raspberrypi", "arduino-portenta-h7")
INSPECTED = "mobilenet_v2"

# What differs from day to day, and the packed script of Plotly, which another zlib packs otherwise.
_PASSING = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00|[A-Za-z0-9+/]{100000,}=*")


@cache
def samples() -> Mapping[str, bytes]:
    """Return every sample by its file's name, as the code of today makes it."""
    report = run(MODELS, Request(devices=resolve_asked(DEVICES)))
    made = {f"sample{reporter.suffix}": reporter.render(report).encode() for _, reporter in REPORTERS}
    inspection = [inspect_model(INSPECTED, DEFAULT_DTYPES)]
    for _, form in FORMATS:
        made[f"sample-inspect{form.suffix}"] = form.render(inspection, Selection()).encode()
    for _, timeline in TIMELINES:
        made[f"sample-timeline{timeline.suffix}"] = timeline.render(_titled(report))
    return made


def scrubbed(content: bytes) -> bytes:
    """Return what has to stay the same from day to day and from machine to machine."""
    return _PASSING.sub(b"...", content)


def _titled(report: Report) -> Mapping[str, object]:
    return {
        f"{key.device}, {key.runtime}, {key.dtype}": layout
        for key, layout in report.layouts.items()
        if key.model == INSPECTED
    }


def write_samples() -> None:
    """Write the samples that are not current, and the picture where one of them was written."""
    written = False
    for name, content in samples().items():
        path = REPORTS / name
        if not path.is_file() or scrubbed(path.read_bytes()) != scrubbed(content):
            path.write_bytes(content)
            written = True
    if CHROMIUM and (written or not PICTURE.is_file()):
        PICTURE.write_bytes(picture(REPORTS / "sample.html"))


def picture(page_path: Path) -> bytes:
    """Return the top of a report as a PNG of few colours, which is a quarter of the size."""
    from PIL import Image

    with chromium() as browser, opened(browser, page_path, width=1000) as (page, _):
        page.wait_for_timeout(500)
        shot = page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": 1000, "height": 1345})
    out = io.BytesIO()
    Image.open(io.BytesIO(shot)).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


if __name__ == "__main__":
    write_samples()
