"""Responses as Markdown by the project's setting, the plain text a key away; long prompts fold."""

import pytest
from playwright.sync_api import expect
from tests.web.site import Site, answers, prompt

from understudy.store.settings import MARKDOWN, set_setting

RICH = (
    "# A plan\n\nFirst **this**:\n\n```python\ndef f(x):\n    return x + 1\n```\n\nas $x^2$ says."
    "\n\n![map](https://evil.example/map.png) and [more](https://evil.example/more)"
)
PLAIN = "Just <b>text</b>."


@pytest.fixture(scope="module")
def project(site: Site) -> Site:
    long = prompt("long", "Why are there tides? " * 200)
    site.add([long], answers(long, [RICH, PLAIN]))
    site.plan("rank")
    set_setting(site.store, MARKDOWN, True, "2026-01-01T00:00:00.000000+00:00", by=None)
    return site


@pytest.mark.thorough
def test_markdown_is_drawn_fetches_nothing_and_is_plain_on_a_key(project: Site, open_page) -> None:
    project.account("Ann")
    asked = []
    page = open_page(project)
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/sign-in")
    page.get_by_label("Name").fill("Ann")
    page.get_by_label("Password").fill("a long enough password")
    page.get_by_role("button", name="Sign in").click()
    page.locator(".answer.alone").wait_for()
    if page.locator(".answer.alone .rich pre").count() == 0:
        assert "<b>text</b>" in page.locator(".answer.alone .rich").inner_text()
        page.keyboard.press("4")
        page.keyboard.press("Enter")
    rich, source = page.locator(".answer.alone .rich"), page.locator(".answer.alone .source")
    expect(rich.locator("h4")).to_have_text("A plan")
    expect(rich.locator("pre .tok-k").first).to_have_text("def")
    assert rich.locator("math msup").bounding_box()["width"] > 5
    expect(rich).to_contain_text("more (https://evil.example/more)")
    assert rich.locator("img, a").count() == 0
    page.keyboard.press("p")
    expect(source).to_be_visible()
    expect(rich).to_be_hidden()
    assert source.text_content() == RICH
    page.keyboard.press("p")
    expect(rich).to_be_visible()
    assert [url for url in asked if not url.startswith(project.url)] == []
    reading = page.locator(".prompt")  # a long prompt folds while one rates
    reading.get_by_role("button", name="Show all 800 words").click()
    expect(reading.get_by_role("button", name="Fold")).to_be_visible()
