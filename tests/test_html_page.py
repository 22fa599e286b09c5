"""The HTML report in a real browser: it loads, draws, answers to mouse and keyboard, and says what the JSON says."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from edgebudget.cli import main
from edgebudget.labels import LABELS
from tests.browser import CHROMIUM, NO_CHROMIUM, chromium, opened, until

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)

MODEL = """
from collections import OrderedDict
import torch
from torch import nn

def net():
    layers = OrderedDict({"<script>alert(1)</script>": nn.Conv2d(3, 8, 3), "<b>bold": nn.Conv2d(8, 4, 3)})
    return nn.Sequential(layers), (torch.zeros(1, 3, 32, 32),)
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    (folder / "net.py").write_text(MODEL)
    arguments = ["check", f"{folder}/net.py:net", "--device", "raspberrypi", "--runtime", "executorch-xnnpack,pytorch"]
    assert main([*arguments, "--format", "html,json", "--out", str(folder), "-q"]) == 0
    return folder / "raspberrypi.html"


@pytest.fixture(scope="module")
def results(report: Path) -> list[dict[str, object]]:
    document: dict[str, list[dict[str, object]]] = json.loads(report.with_suffix(".json").read_text())
    return document["results"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def desk(browser: Browser, report: Path) -> Iterator[tuple[Page, list[str]]]:
    """The page on a desktop, in light: opening it takes seconds, so the tests share it and leave it as it was."""
    with opened(browser, report) as shown:
        yield shown


def open_all(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    until(page, "[...document.querySelectorAll('[data-figure]')].every((part) => part.dataset.drawn)")


def test_the_page_is_one_small_file_without_addresses_to_load(report: Path) -> None:
    text = report.read_text()
    assert len(text) < 6e6
    assert 'src="' not in text
    assert "<link" not in text


def test_its_numbers_are_those_of_the_json(desk: tuple[Page, list[str]], results: list[dict[str, object]]) -> None:
    page, _ = desk
    for key in LABELS:
        expected = ["" if result[key] is None else str(result[key]) for result in results]
        cells = page.locator(f"[data-key={key}]")
        assert cells.evaluate_all("cells => cells.map((cell) => cell.dataset.value)") == expected, key
        first = "cell.firstChild ? cell.firstChild.textContent.replaceAll(',', '') : ''"
        assert cells.evaluate_all(f"cells => cells.map((cell) => {first})") == expected, key
    verdicts = page.locator(".matrix .verdict").all_inner_texts()
    assert sorted(verdicts) == sorted(str(result["decision"]) for result in results)


@pytest.mark.parametrize("figure", ["over-time", "arena"])
def test_hovering_names_tensors_and_their_bytes(desk: tuple[Page, list[str]], figure: str) -> None:
    page, wrong = desk
    area = page.locator(f".{figure} .nsewdrag").first
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    assert box is not None
    for share in (4, 3):  # a tooltip comes with a movement over a tensor; those alive throughout lie at the bottom
        page.mouse.move(box["x"] + box["width"] / share, box["y"] + box["height"] - 3)
    tip = page.locator(f".{figure} .hoverlayer .hovertext").first
    tip.wait_for()
    text = tip.text_content() or ""
    assert " bytes" in text
    assert "<b>bold: convolution" in text  # a module's name, shown and not obeyed
    assert wrong == []


def test_the_keyboard_opens_a_figure(desk: tuple[Page, list[str]]) -> None:
    page, _ = desk
    closed = page.locator("details.drawing:not([open])").first
    name = closed.get_attribute("data-figure")
    closed.locator("summary").focus()
    page.keyboard.press("Enter")
    page.locator(f"details[data-figure={name}][data-drawn]").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('section') !== null")
    page.evaluate(f"document.querySelector('[data-figure={name}]').open = false")


def test_it_draws_every_figure_without_an_error(
    browser: Browser, report: Path, results: list[dict[str, object]]
) -> None:
    sized = [result for result in results if result["raw_peak_bytes"] is not None]
    planned = [result for result in sized if result["runtime"] != "pytorch"]
    with opened(browser, report, width=390, scheme="dark") as (page, wrong):
        assert page.locator(".js-plotly-plot").count() == 2  # the others when they are opened
        open_all(page)
        assert page.locator(".over-time.js-plotly-plot").count() == len(sized) == 5
        assert page.locator(".arena.js-plotly-plot").count() == len(planned) == 2
        assert page.locator(".eb-bar").count() == page.locator(".eb-interval").count() == len(sized)
        assert page.locator(".eb-budget").count() == len(sized)
        assert page.title() == "GO: memory verdict"
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert wrong == []


def test_it_follows_the_system_from_light_to_dark(desk: tuple[Page, list[str]]) -> None:
    page, wrong = desk
    ground = "getComputedStyle(document.body).backgroundColor"
    ink = "document.querySelector('.over-time .gtitle').style.fill"
    assert page.evaluate(ground) == "rgb(245, 246, 248)"
    light = page.evaluate(ink)
    page.emulate_media(color_scheme="dark")
    until(page, f"{ink} !== {light!r}")
    assert page.evaluate(ground) == "rgb(16, 19, 24)"
    page.emulate_media(color_scheme="light")
    until(page, f"{ink} === {light!r}")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1100
    assert wrong == []


def test_the_page_of_layers_draws_too(browser: Browser, report: Path) -> None:
    net = f"{report.parent}/net.py:net"
    assert main(["inspect", net, "--format", "html,json", "--out", str(report.parent), "-q"]) == 0
    (path,) = report.parent.glob("inspect-*.html")
    totals = json.loads(path.with_suffix(".json").read_text())["models"][0]["totals"]
    with opened(browser, path, width=390) as (page, wrong):
        assert page.locator(".layers.js-plotly-plot").count() == 2
        shown = page.locator("[data-key=parameter_numel]").get_attribute("data-value")
        assert shown == str(totals["parameter_numel"])
        assert "<script>" in (page.locator(".layers .yaxislayer-above").first.text_content() or "")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert wrong == []
