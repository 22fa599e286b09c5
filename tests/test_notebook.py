"""What a notebook shows of a result, a report and a comparison."""

from dataclasses import replace

import pytest

from edgebudget.comparison import Comparison
from edgebudget.labels import LABELS
from edgebudget.verdict import CheckResult
from tests.handmade import ERROR, GO_RESULT, REPORT, SHORT_RESULT, UNSUPPORTED_RESULT, report
from tests.test_reporters import NASTY, nasty_report, parsed_html


@pytest.mark.parametrize("result", [GO_RESULT, SHORT_RESULT, UNSUPPORTED_RESULT], ids=lambda result: result.dtype)
def test_a_result_is_a_table_of_its_numbers(result: CheckResult) -> None:
    html = result._repr_html_()
    assert html.count("<table>") == 1
    for key, label in LABELS.items():
        value = getattr(result, key)
        assert (f">{label}<" in html) == (value is not None)
        if value is not None:
            assert f"{value:,}" in html
    assert result.reasons[0] in html


def test_a_report_is_its_figure() -> None:
    html = REPORT._repr_html_()
    assert html.count("eb-interval") >= 2
    assert html.count('class="eb-budget') == 2
    assert "<script" not in html
    assert "mobilenet_v2 on raspberrypi, pytorch" in html
    assert ERROR.message in "".join(parsed_html(html).text)
    assert Comparison(REPORT)._repr_html_() == html


def test_a_long_report_is_cut_and_says_so() -> None:
    many = report(*[replace(GO_RESULT, model=f"m{i}") for i in range(25)])
    assert "5 more" in many._repr_html_()


@pytest.mark.parametrize("name", NASTY)
def test_names_do_no_harm(name: str) -> None:
    clean = nasty_report("plain")
    for odd, plain in [(nasty_report(name), clean), (nasty_report(name).results[0], clean.results[0])]:
        assert parsed_html(odd._repr_html_()).tags == parsed_html(plain._repr_html_()).tags
