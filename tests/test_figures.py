"""What pages are drawn from: scales that hold the bars, peaks that add up, data that stays small."""

import json
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebudget.figures.bars import bar_chart
from edgebudget.figures.over_time import figure_data, peak_of, to_script_json
from edgebudget.figures.page import packed_plotly
from edgebudget.report import FIGURED_OPTIONS, OptionKey, Report, key_of, to_draw
from edgebudget.reporters import REPORTERS
from edgebudget.reporters.html import SECTIONS
from edgebudget.runtimes.interface import LiveTensor, MemoryLayout, PeakOp
from edgebudget.verdict import CheckResult, Decision
from tests.handmade import GO_RESULT, SHORT_RESULT, UNSUPPORTED_RESULT, report, with_decision
from tests.test_reporters import NASTY, parsed_html


def layout_of(
    *tensors: LiveTensor, steps: int, label: str = "features.0: conv2d", scratch_bytes: int = 0
) -> MemoryLayout:
    alive = [sum(t.nbytes for t in tensors if t.first <= at <= t.last) + scratch_bytes for at in range(steps)]
    timeline = tuple((f"{label} {at}", nbytes) for at, nbytes in enumerate(alive))
    return MemoryLayout(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, PeakOp(0, "conv2d", "features.0"), timeline, tensors)


def large_layout(steps: int) -> MemoryLayout:
    name = "encoder.layers.encoder_layer_10.self_attention.in_projection: linear"
    tensors = [LiveTensor(f"{name} {i}", 4096 + i, i, min(i + 2, steps - 1), 4096 * i) for i in range(steps)]
    return layout_of(*tensors, steps=steps, label=name)


def with_layouts(*pairs: tuple[str, MemoryLayout]) -> Report:
    results = [replace(GO_RESULT, model=model) for model, _ in pairs]
    made = report(*results)
    return replace(made, layouts=dict(zip(map(key_of, results), [layout for _, layout in pairs], strict=True)))


# ---- bars


@given(
    low=st.integers(0, 10**10), more=st.integers(0, 10**10), most=st.integers(0, 10**10), budget=st.integers(1, 10**12)
)
def test_everything_lies_on_the_scale(low: int, more: int, most: int, budget: int) -> None:
    option = replace(
        GO_RESULT, peak_low_bytes=low, peak_bytes=low + more, peak_high_bytes=low + more + most, budget_bytes=budget
    )
    chart = bar_chart([option, UNSUPPORTED_RESULT])
    assert chart is not None
    (bar,) = chart.bars
    assert 0 <= bar.low_percent <= bar.peak_percent <= bar.high_percent < 100
    assert 0 < chart.budget_percent <= 100
    assert sum(segment.percent for segment in bar.segments) < 100
    assert sum(segment.nbytes for segment in bar.segments) == option.raw_peak_bytes
    if not chart.is_broken:
        over = option.peak_high_bytes is not None and option.peak_high_bytes > budget
        assert (bar.high_percent > chart.budget_percent) == over
    ticks = [percent for percent, _ in chart.ticks]
    assert ticks == sorted(ticks)
    assert 1 < len(ticks) <= 6
    assert ticks[-1] <= 100


def test_nothing_is_drawn_of_what_has_no_numbers() -> None:
    assert bar_chart([UNSUPPORTED_RESULT]) is None
    assert bar_chart([]) is None


def test_bars_of_one_chart_share_a_scale() -> None:
    chart = bar_chart([GO_RESULT, SHORT_RESULT])
    assert chart is not None
    first, second = chart.bars
    ratio = sum(s.percent for s in first.segments) / sum(s.percent for s in second.segments)
    assert ratio == pytest.approx((GO_RESULT.raw_peak_bytes or 0) / (SHORT_RESULT.raw_peak_bytes or 1))


# ---- over time


def test_the_peak_adds_up() -> None:
    tensors = [LiveTensor(f"t{i}", 100 + i, 0, 1) for i in range(20)]
    peak = peak_of(layout_of(*tensors, LiveTensor("late", 50, 1, 1), steps=3, scratch_bytes=7))
    assert peak is not None
    assert peak.index == 1
    assert peak.nbytes == sum(t.nbytes for t in peak.tensors) + peak.others_nbytes + peak.scratch_nbytes
    assert (len(peak.tensors), peak.others, peak.scratch_nbytes) == (12, 9, 7)
    assert peak_of(layout_of(steps=0)) is None


def test_figure_data_names_each_label_once() -> None:
    data = figure_data(large_layout(50))
    labels = data["labels"]
    assert isinstance(labels, list)
    assert len(labels) == len(set(labels)) == 50
    assert data["arena_bytes"] == 4096 * 49 + 4096 + 49


@given(st.text())
def test_data_never_ends_its_script(text: str) -> None:
    written = to_script_json({"label": text + "</script><!--"})
    assert "<" not in written
    assert written.isascii()
    assert json.loads(written) == {"label": text + "</script><!--"}


def test_plotly_is_packed_whole() -> None:
    import base64
    import zlib

    from plotly.offline import get_plotlyjs

    assert zlib.decompress(base64.b64decode(packed_plotly())).decode() == get_plotlyjs()
    assert len(packed_plotly()) < 2.2e6


# ---- the page with them


@pytest.mark.parametrize("name", NASTY)
def test_names_of_tensors_do_no_harm(name: str) -> None:
    odd = with_layouts(("m", layout_of(LiveTensor(name, 64, 0, 1, 0), steps=2, label=name)))
    plain = with_layouts(("m", layout_of(LiveTensor("plain", 64, 0, 1, 0), steps=2, label="plain")))
    html = REPORTERS.get("html").render(odd)
    assert parsed_html(html).tags == parsed_html(REPORTERS.get("html").render(plain)).tags
    assert html.count("</script>") == 3


def test_a_page_without_layouts_has_no_script() -> None:
    assert "script" not in parsed_html(REPORTERS.get("html").render(report(GO_RESULT))).tags


def test_a_page_of_many_large_models_stays_small_and_says_what_it_leaves_out() -> None:
    large = large_layout(2000)
    many = with_layouts(*((f"model {i}", large) for i in range(SECTIONS + 10)))
    html = REPORTERS.get("html").render(many)
    assert len(html) < 6e6
    drawn = html.count("data-figure=")
    assert 5 < drawn <= FIGURED_OPTIONS
    assert f"Figures over time are drawn for {drawn} options" in html
    assert "The other 10" in html
    for i in range(SECTIONS + 10):
        assert f"model {i}" in html


def test_options_to_draw_are_those_to_explain_first() -> None:
    results = [
        replace(result, model=f"m{i}", device=device)
        for device in ("a", "b")
        for i in range(FIGURED_OPTIONS - 2)
        for result in (SHORT_RESULT, GO_RESULT, UNSUPPORTED_RESULT)
    ]
    drawn = to_draw(results)
    assert len(drawn) == len(set(drawn)) == 2 * FIGURED_OPTIONS
    first = [OptionKey(f"m{i}", "a", "pytorch", "float32") for i in range(FIGURED_OPTIONS - 2)]
    assert drawn[: FIGURED_OPTIONS - 2] == first
    assert drawn[FIGURED_OPTIONS - 2].dtype == "int8"
    assert not any(key.dtype == "bfloat16" for key in drawn)


@pytest.mark.parametrize("seed", range(8))
def test_what_is_not_drawn_is_not_drawn_once_more_models_are_there(seed: int) -> None:
    chance = Random(seed)
    results: list[CheckResult] = []
    kept: list[CheckResult] = []
    for model in range(chance.choice([3, 10, 30])):
        options = [
            with_decision(chance.choice(list(Decision)), f"m{model}", dtype, device)
            for device in ("a", "b")
            for dtype in chance.sample(["float32", "float16", "int8", "bfloat16"], chance.randint(1, 4))
        ]
        results += options
        kept += options
        drawn = to_draw(kept)
        assert drawn == to_draw(results)
        kept = [option for option in kept if key_of(option) in drawn]
