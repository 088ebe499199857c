"""The report in a real browser: on a phone, in the dark, without the network."""

from pathlib import Path

import pytest
from tests.chromium import launch
from tests.unit.evaluation.synthetic import results

from understudy.evaluation.figures import panels_figure
from understudy.evaluation.report import write_report

CONTRAST = """() => {
  const channel = v => (v /= 255, v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = c => { const [r, g, b] = c.match(/[0-9.]+/g).map(Number).map(channel);
                       return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const style = getComputedStyle(document.body);
  const pair = [light(style.color), light(style.backgroundColor)].sort((a, b) => b - a);
  return (pair[0] + 0.05) / (pair[1] + 0.05);
}"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory) -> Path:
    return write_report(results(), tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def browser():
    with launch() as browser:
        yield browser


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (360, "dark"),
        (1100, "light"),
        pytest.param(360, "light", marks=pytest.mark.slow),
        pytest.param(1100, "dark", marks=pytest.mark.slow),
    ],
)
def test_it_reads_at_every_width_in_both_schemes(browser, page_file, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(page_file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CONTRAST) > 7
    assert asked == [page_file.as_uri()]
    assert complaints == []
    page.close()


CUT_OFF = """() => [...document.querySelectorAll('svg text')].filter(text => {
  const own = text.getBoundingClientRect(), all = text.closest('svg').getBoundingClientRect();
  return own.width > 0 && (own.left < all.left - 1 || own.right > all.right + 1
                           || own.top < all.top - 1 || own.bottom > all.bottom + 1);
}).map(text => text.textContent)"""


def test_no_text_of_a_figure_is_cut_off(browser, page_file):
    """Not in the report, nor where the second panel has a long title and long names beside it."""
    page = browser.new_page(viewport={"width": 1100, "height": 800})
    page.goto(page_file.as_uri())
    assert page.locator("svg text").count() > 50
    assert page.evaluate(CUT_OFF) == []
    table = {name: {"rate": 0.5, "low": 0.4, "high": 0.6} for name in ("sft", "prompted_07")}
    page.set_content(panels_figure({"Polite": table, "Satisfies the constraint at all": table}))
    assert page.locator("svg text").count() > 5
    assert page.evaluate(CUT_OFF) == []
    page.close()


def test_a_reader_who_sees_no_pictures_gets_the_numbers(browser, page_file):
    page = browser.new_page()
    page.goto(page_file.as_uri())
    figures = page.get_by_role("img")
    assert figures.count() > 4
    for index in range(figures.count()):
        name = figures.nth(index).get_attribute("aria-label")
        assert name is not None
        assert len(name) > 40
    page.close()
