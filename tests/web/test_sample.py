"""`understudy new --sample-data`: from its link to the first exported ranking; pages, measured.

Everything is on a project with sample data, so that every page shows something.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.web.conftest import opening, sign_in
from tests.web.site import PASSWORD, Site, site_of

from understudy.cli import main
from understudy.labeling.owner.routes import PAGES

OWNERS = [path for path in PAGES if "{" not in path]
LABELERS = ["/work", "/history", "/instructions", "/me"]
READY = "#page[aria-busy=false], #stage[aria-busy=false], #history li, #text p, #look"
SIZES = {"phone": (390, 844), "desk": (1280, 800)}
EVERY = [*OWNERS, *LABELERS, "labeler", "disagreement"]
EVERYDAY = ("/owner", "/work", "disagreement")
"""What is looked at on a desk's screen too, in the everyday suite."""


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Made by the command, served, its link kept under the name link."""
    folder = tmp_path_factory.mktemp("sample") / "my-project"
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr("builtins.print", lambda *words, **_: said.append(" ".join(map(str, words))))
        assert main(["new", str(folder), "--sample-data"]) == 0
    site = site_of(folder)
    site.ids["link"] = re.search(r"/invitation#\S+", said[-1])[0]  # type: ignore[index]
    site.start()
    yield site
    site.stop()


@pytest.fixture(scope="module")
def entered(sample: Site, browser) -> Site:
    """The owner has opened the link, chosen a password, read, ranked, and exported."""
    context = browser.new_context(base_url=sample.url, accept_downloads=True)
    page = context.new_page()
    page.goto(sample.ids["link"])
    page.locator("#password").fill(PASSWORD)
    page.locator("#again").fill(PASSWORD)
    page.get_by_role("button", name="Begin").click()
    page.get_by_role("button", name="I have read this").click()
    page.wait_for_url("**/work*")
    for _ in range(4):
        page.locator(".scale label").nth(4).click()
        page.locator("#next").click()
    for place, card in enumerate(page.locator(".answers .answer").all()):
        card.locator(".places label").nth(place).click()
    page.locator("#submit").click()
    expect(page.locator(".toast")).to_contain_text("Sent.")
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Project").click()
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Exports").click()
    page.get_by_role("button", name="Export", exact=True).click()
    expect(page.locator("#jobs tbody tr")).to_have_count(2)
    expect(page.locator("#jobs .badge").first).to_have_text("done")
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download").first.click()
    sample.ids["file"] = str(waiting.value.path())
    sample.ids["file text"] = Path(sample.ids["file"]).read_text(encoding="utf-8")
    context.close()
    return sample


@pytest.fixture(scope="module")
def olgas(entered: Site, browser) -> Iterator[Page]:
    """The owner's page; a test that goes elsewhere in it leaves nothing behind."""
    with opening(browser) as make:
        yield make(entered, "Olga")


def test_the_first_ranking_is_in_the_export(entered: Site) -> None:
    rows = [json.loads(line) for line in entered.ids["file text"].splitlines()]
    assert len(rows) > 20
    ours = [row for row in rows if row["tiers"] == [[0], [1], [2], [3]]]
    assert ours, "the answers were put into tiers in the order in which they were shown"
    assert all(row["rubric_begun"] == row["rubric"] for row in rows)


@pytest.mark.parametrize("path", OWNERS)
def test_every_owners_page_shows_something(olgas: Page, path: str) -> None:
    page = olgas
    page.goto(path)
    page.locator("#page[aria-busy=false]").wait_for()
    text = page.locator("#page").inner_text()
    assert "appear here" not in text
    assert len(text) > 150
    assert text.count("undefined") < 8


BOXES = """() => {
  const scrolls = (node) => {
    for (let up = node.parentElement; up; up = up.parentElement) {
      const style = getComputedStyle(up);
      if (/auto|scroll|hidden/.test(style.overflowX) && up !== document.documentElement
          && up !== document.body) return true;
    }
    return false;
  };
  return [...document.querySelectorAll("body *")].filter((node) => {
    const box = node.getBoundingClientRect();
    const style = getComputedStyle(node);
    if (!box.width || !box.height || style.visibility === "hidden") return false;
    if (node.closest(".unseen, .skip, [hidden], dialog:not([open]), .toasts")) return false;
    return (box.right > innerWidth + 1 || box.left < -1) && !scrolls(node);
  }).map((node) => node.outerHTML.slice(0, 120));
}"""
COVERED = """() => {
  const seen = (node) => {
    node.scrollIntoView({block: "center", behavior: "instant"});
    const box = node.getBoundingClientRect();
    const x = Math.min(innerWidth - 1, Math.max(0, box.left + box.width / 2));
    const top = document.elementFromPoint(x, box.top + box.height / 2);
    return top && (node.contains(top) || top.contains(node) ||
      top.closest("label")?.contains(node) || node.labels?.[0]?.contains(top));
  };
  const controls = "main button, main a[href], main input:not(.unseen), main select, main textarea";
  return [...document.querySelectorAll(controls)].filter((node) => {
    const box = node.getBoundingClientRect();
    if (!box.width || !node.checkVisibility() || node.closest(".unseen, .scroll")) return false;
    return !seen(node);
  }).map((node) => node.outerHTML.slice(0, 120));
}"""
FIRST_COLUMN = """() => [...document.querySelectorAll(".scroll")].filter((box) =>
  box.scrollWidth > box.clientWidth + 1).map((box) => {
    box.scrollLeft = box.scrollWidth;
    const cell = box.querySelector("tbody tr > :first-child");
    const last = box.querySelector("tbody tr > :last-child");
    const [at, end] = [box.getBoundingClientRect(), last.getBoundingClientRect()];
    return {
      stays: Math.abs(cell.getBoundingClientRect().left - at.left) <= 1,
      reached: end.right <= at.right + 1,
    };
  })"""


@pytest.mark.parametrize(
    ("screen", "path"),
    [("phone", path) for path in EVERY]
    + [
        pytest.param("desk", path, marks=() if path in EVERYDAY else pytest.mark.slow)
        for path in EVERY
    ],
)
def test_nothing_is_cut_off_or_covered(olgas: Page, screen: str, path: str) -> None:
    page, (width, height) = olgas, SIZES[screen]
    page.set_viewport_size({"width": width, "height": height})
    if path in ("labeler", "disagreement"):  # the first of each, by the list's link
        page.goto(f"/owner/{path}s")
        page.locator("#page[aria-busy=false]").wait_for()
        page.goto(page.locator("tbody a").first.get_attribute("href"))
    else:
        page.goto(path)
    page.locator(READY).first.wait_for()
    for details in page.locator("main details").all():
        details.evaluate("node => { node.open = true; }")
    assert page.evaluate(BOXES) == [], "outside the window"
    assert page.evaluate(COVERED) == [], "under something else"
    if screen == "phone":
        for box in page.evaluate(FIRST_COLUMN):
            assert box == {"stays": True, "reached": True}


@pytest.mark.thorough
def test_a_labelers_practice_begins_when_they_sign_in(entered: Site, open_page) -> None:
    page = open_page(entered, "Olga")
    page.goto("/owner/labelers")
    page.locator("#page[aria-busy=false]").wait_for()
    page.get_by_text("Invite somebody").click()
    page.get_by_label("Name").fill("Nora")
    page.get_by_role("button", name="Make an invitation").click()
    link = page.get_by_label("Invitation link").input_value()
    nora = open_page(entered)
    nora.goto(link)
    nora.locator("#password").fill(PASSWORD)
    nora.locator("#again").fill(PASSWORD)
    nora.get_by_role("button", name="Begin").click()
    nora.get_by_role("button", name="I have read this").click()
    expect(nora.locator(".task-head .badge")).to_have_text("Practice")
    sign_in(open_page(entered), "Nora")
