"""The pictures of the labelers' and the owner's pages in docs/labeling.md, drawn anew.

.venv/bin/python -m tests.web.pictures
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import expect
from tests.chromium import launch
from tests.web.conftest import opening, saved
from tests.web.site import TIDES, Site, answers, make_site, prompt
from tests.web.team import team

from understudy.records import Message

DOCS = Path(__file__).parents[2] / "docs"
TALK = (
    Message("user", "Hello! Can you explain things simply?"),
    Message("assistant", "Of course. What would you like to know?"),
    Message("user", "Why are there two high tides a day? In three sentences, for a child of ten."),
)
QUALITIES = {TIDES[0]: "5", TIDES[1]: "7", TIDES[2]: "5", TIDES[3]: "2", TIDES[4]: "1"}
TIERS = {TIDES[1]: "1", TIDES[0]: "2", TIDES[2]: "2", TIDES[3]: "4", TIDES[4]: "5"}


def main() -> None:
    """Draw them into docs."""
    with tempfile.TemporaryDirectory() as folder, launch() as browser, opening(browser) as make:
        tides = _started(Path(folder) / "tides")
        to = prompt("tides", TALK)
        tides.add([to], answers(to, TIDES[:5]))
        tides.plan("rank", overlap=1.0, labels_per_overlap=2)
        for name, draw in (("Lea", rank), ("Kim", rate)):
            tides.account(name)
            draw(tides, make, name)
        tides.stop()
        busy = _started(Path(folder) / "team")
        team(busy)
        page = make(busy, "Olga", height=860)
        page.goto("/owner/agreement")
        page.get_by_text("Dan", exact=True).first.wait_for()
        _draw(page, "agreement")
        busy.stop()


def rank(site: Site, make: Any, name: str) -> None:
    """Five responses in tiers, two of them tied."""
    page = make(site, name, height=800)
    shown = []
    for place in range(5):
        card = page.locator(".answer.alone")
        expect(card.locator("h2")).to_have_text(f"Response {'ABCDE'[place]}")
        shown.append(_text_in(card))
        page.keyboard.press(QUALITIES[shown[-1]])
        page.keyboard.press("Enter")
    page.locator(".ladder").wait_for()
    for letter, text in zip("abcde", shown, strict=True):
        page.keyboard.press(letter)
        page.keyboard.press(TIERS[text])
    saved(page)
    page.evaluate("scrollTo(0, 0)")
    _draw(page, "rank")


def rate(site: Site, make: Any, name: str) -> None:
    """One response on a phone, in dark mode."""
    page = make(site, name, width=390, color_scheme="dark")
    card = page.locator(".answer.alone")
    card.wait_for()
    page.keyboard.press(QUALITIES[_text_in(card)])
    saved(page)
    card.scroll_into_view_if_needed()
    page.evaluate("scrollBy(0, 390)")
    _draw(page, "rate-phone")


def _started(folder: Path) -> Site:
    site = make_site(folder)
    site.start()
    return site


def _text_in(card: Any) -> str:
    words = " ".join(card.inner_text().split())
    return next(text for text in QUALITIES if " ".join(text.split()) in words)


def _draw(page: Any, name: str) -> None:
    path = DOCS / f"labeling-{name}.png"
    page.screenshot(path=str(path), animations="disabled")
    print(path, file=sys.stderr)


if __name__ == "__main__":
    main()
