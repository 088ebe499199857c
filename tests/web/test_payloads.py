"""What people and models write is text: sixty scripts in prompts, answers, notes and names."""

from contextlib import suppress

import pytest
from playwright.sync_api import expect
from tests.gateways import plain_client
from tests.labeling_client import LabelingClient
from tests.web.payloads import PAYLOADS
from tests.web.site import PASSWORD, Site, answers, prompt

from understudy.records import Message
from understudy.store.accounts.people import check_name

PER_PROMPT = 8
HOOK = """
  window.hits = [];
  window.hit = number => window.hits.push(number);
  window.parent.hit = window.hit;
"""
ALIEN = "img:not([src^='/api/']), iframe, object, embed, marquee, math, video, audio, base"
SCRIPTS = "script:not([src^='/static/'])"


@pytest.fixture(scope="module")
def project(site: Site) -> Site:
    """Every payload as a prompt, in a conversation, and as an answer; people named after some."""
    prompts, responses = [], []
    for start in range(0, len(PAYLOADS), PER_PROMPT):
        batch = PAYLOADS[start : start + PER_PROMPT]
        turns = [Message(("user", "assistant")[i % 2], text) for i, text in enumerate(batch)]
        to = prompt(f"x{start:02}", (*turns, Message("user", batch[0])), "valid", use_case="chat")
        prompts.append(to)
        responses += answers(to, batch)
    site.add(prompts, responses)
    site.plan("rank", overlap=1.0, labels_per_overlap=3)
    for number, name in enumerate(PAYLOADS[:2]):
        site.ids[name] = site.account(name)
        _label_all(site, name, number)
    site.account("Olga", role=None, owner=True)
    site.account("Ann")
    return site


def _label_all(site: Site, name: str, order: int) -> None:
    """Answers with a payload in each note; two people in opposite orders."""
    with plain_client(base_url=site.url, timeout=60) as http:
        client = LabelingClient(http)
        client.sign_in(name, PASSWORD)
        number = 0
        while (found := client.next("rank")) is not None:
            ids = [one["id"] for one in sorted(found["answers"], key=lambda one: one["text"])]
            notes = {one: PAYLOADS[(number + i) % 60] for i, one in enumerate(ids)}
            ratings = {one: {"likert": 4, "flags": {}, "note": notes[one]} for one in ids}
            tiers = [[one] for one in (ids if order else reversed(ids))]
            body = dict(id=f"submission-{order}-{number}", outcome="ranked", note=notes[ids[0]])
            client.submit(found["id"], {**body, "ratings": ratings, "tiers": tiers})
            number += 1


@pytest.fixture
def watched(project: Site, open_page):
    """A page in which any payload that runs is noted."""

    def make(name: str):
        page = open_page(project)
        page.add_init_script(HOOK)
        page.goto("/sign-in")
        page.get_by_label("Name").fill(name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(lambda url: "/sign-in" not in url)
        return page

    return make


def check(page) -> None:
    """Nothing ran, and no element was made of what somebody wrote."""
    assert page.evaluate("window.hits") == []
    assert page.locator(ALIEN).count() == 0
    assert page.locator(SCRIPTS).count() == 0
    handlers = "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())"
    names = set(page.evaluate(handlers))
    assert not {name for name in names if name.startswith("on")}


@pytest.mark.thorough
def test_in_the_labelers_pages(project: Site, watched) -> None:
    page = watched("Ann")
    shown: set[str] = set()
    for _ in range(0, len(PAYLOADS), PER_PROMPT):
        page.locator(".answer.alone").wait_for()
        shown.update(page.locator(".turn .prose").all_text_contents())
        page.locator(".step").last.click()
        page.locator(".ladder").wait_for()
        shown.update(page.locator(".answers .prose").all_text_contents())
        check(page)
        page.keyboard.press("a")
        page.keyboard.press("v")
        page.keyboard.press("b")
        page.keyboard.press("v")
        page.get_by_role("dialog").wait_for()
        check(page)
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Unsure").click()
        page.get_by_label("Why?").fill(PAYLOADS[0])
        page.get_by_role("dialog").get_by_role("button", name="Send").click()
        expect(page.locator(".toast")).to_contain_text("Sent.")
        page.get_by_role("button", name="Dismiss").click()
    assert shown >= set(PAYLOADS)  # letter for letter, as written
    page.goto("/history")
    page.locator("#history li").first.wait_for()
    check(page)


def test_in_the_owners_pages(project: Site, watched) -> None:
    page = watched("Olga")
    items = [row.id for row in project.items("rank") if row.num_done]
    paths = ["", "/queue", "/agreement", "/disagreements?state=all", "/labelers", "/gold", "/audit"]
    paths += [f"/disagreements/{item}" for item in items]
    paths += [f"/labelers/{account_id}" for account_id in project.ids.values()]
    texts = ""
    for path in paths:
        page.goto(f"/owner{path}")
        page.locator("#page[aria-busy=false]").wait_for()
        assert page.locator(".trouble[role=alert]").all_text_contents() == [], path
        check(page)
        texts += page.locator("body").inner_text()
    assert PAYLOADS[0] in texts  # a name; and the notes of the disagreements
    assert sum(payload in texts for payload in PAYLOADS) > len(PAYLOADS) // 2


@pytest.mark.thorough
def test_as_the_name_in_every_page_of_ones_own(project: Site, watched) -> None:
    page = watched(PAYLOADS[1])
    for path in ("/work", "/history", "/instructions", "/me"):
        page.goto(path)
        expect(page.locator(".menu a[href='/me']")).to_have_text(PAYLOADS[1])
        check(page)


@pytest.mark.thorough
def test_as_the_names_of_a_whole_team(project: Site, watched) -> None:
    """All sixty but those that cannot be a name: too long, or not printable."""
    names = []
    for payload in PAYLOADS[2:]:
        with suppress(ValueError):
            project.account(payload)
            names.append(check_name(payload))
    assert len(names) > 50
    page = watched("Olga")
    page.goto("/owner/labelers")
    page.locator("#page[aria-busy=false]").wait_for()
    check(page)
    shown = " ".join(page.locator("#page").inner_text().split())
    assert [name for name in names if name not in shown] == []
