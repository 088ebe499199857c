"""A labeler's whole day, from the invitation to the last task, in a browser."""

import re

import pytest
from playwright.sync_api import expect
from tests.web.conftest import saved
from tests.web.site import TIDES, Site, answers, prompt

GOLD = {"tiers": [0, 1], "likert": (6, 1)}


@pytest.fixture(scope="module")
def project(site: Site) -> Site:
    """Two gold items, one to demonstrate, one to rank, one prompt to write."""
    golds = [prompt(f"gold{i}", "Why are there tides?") for i in range(2)]
    site.add(golds, [one for to in golds for one in answers(to, (TIDES[0], TIDES[3]))])
    site.plan("rank")
    author = site.account("Rita", role="researcher")
    for item, use in zip(site.items("rank"), ("practice", "screening"), strict=True):
        good, bad = site.responses_of(item.id)
        ratings = {good: {"likert": 6, "flags": {}}, bad: {"likert": 1, "flags": {}}}
        site.make_gold(item.id, use, author, {"tiers": [[good], [bad]], "ratings": ratings})
    to_rank, turns = (
        prompt("tides", "Why are there two high tides a day?"),
        prompt("moon", "The moon?"),
    )
    site.add([to_rank, turns], answers(to_rank, TIDES[:4]))
    site.plan("rank", "demonstrate", "write", num_prompts=1)
    return site


def rate_and_rank(page, num_answers: int) -> None:
    """By keys: the quality falls, every answer has a tier of its own."""
    for place in range(num_answers):
        expect(page.locator(".answer.alone h2")).to_have_text(f"Response {'ABCDEFGHI'[place]}")
        page.keyboard.press(str(7 - place))
        page.keyboard.press("Enter")
    for place in range(num_answers):
        page.keyboard.press("abcdefghi"[place])
        page.keyboard.press(str(place + 1))
    page.keyboard.press("Enter")


def test_a_day_from_invitation_to_the_last_task(project: Site, open_page) -> None:
    page = open_page(project)
    page.goto(project.invite("Ann", role=None))
    page.get_by_label("Name").fill("Ann")
    page.get_by_label("Password", exact=False).first.fill("short")
    page.get_by_label("Repeat the password").fill("short")
    page.get_by_role("button", name="Begin").click()
    assert page.url.endswith(page.evaluate("location.hash"))  # the browser asks for 12 characters
    page.locator("#password").fill("correct horse battery")
    page.locator("#again").fill("correct horse batterie")
    page.get_by_role("button", name="Begin").click()
    expect(page.get_by_role("alert")).to_have_text("The two passwords differ.")
    page.locator("#again").fill("correct horse battery")
    page.get_by_role("button", name="Begin").click()

    page.wait_for_url("**/instructions")
    expect(page.locator("#priorities li").first).to_contain_text("Helpful")
    page.get_by_role("button", name="I have read this").click()

    page.wait_for_url("**/work*")  # practice, with what a researcher says
    expect(page.locator(".badge")).to_have_text("Practice")
    rate_and_rank(page, 2)
    expect(page.locator(".feedback h1")).to_contain_text("You agree with the researcher")
    expect(page.locator(".feedback")).to_contain_text("The whales are made up.")
    page.keyboard.press("Enter")

    expect(page.locator(".badge")).to_have_text("Screening")  # no word about right or wrong
    rate_and_rank(page, 2)
    page.wait_for_url("**/waiting")

    _decide(project, "Ann")
    page.get_by_role("link", name="Look again").click()
    page.wait_for_url("**/work*")
    kinds = [_one_task(page) for _ in range(3)]
    assert sorted(kinds) == ["Demonstrate", "Rate and rank", "Write a prompt"]
    expect(page.get_by_role("heading", name="Nothing to do right now")).to_be_visible()
    page.get_by_role("link", name="History").click()
    expect(page.locator("#history li")).to_have_count(4)
    expect(page.locator("#history li", has_text="Practice")).to_have_count(1)


def _decide(site: Site, name: str) -> None:
    """A person takes the candidate."""
    from understudy.labeling.clock import stamp, utc_now
    from understudy.store.accounts.people import account_named, decide

    row = account_named(site.store, name)
    by = account_named(site.store, "Rita")["id"]
    decide(site.store, row["id"], "training", by=by, at=stamp(utc_now()))


def _one_task(page) -> str:
    heading = page.locator("#stage h1")
    expect(heading).to_have_text(re.compile("Demonstrate|Rate|Write"))
    kind = heading.text_content()
    if kind == "Rate and rank":
        rate_and_rank(page, 4)
    elif kind == "Demonstrate":
        page.get_by_label("Your response").fill("Because of the moon.")
        expect(page.locator(".count")).to_have_text(re.compile("^4 of"))
        saved(page)
        page.keyboard.press("Control+Enter")
    else:
        _write(page)
    expect(page.locator(".toast")).to_contain_text("Sent.")
    page.get_by_role("button", name="Dismiss").click()
    return kind


def _write(page) -> None:
    few_shot = page.get_by_label("Instruction").count()
    page.locator("textarea").first.fill("Say whether the mood is good.")
    if few_shot:
        for number in (1, 2):
            page.get_by_label(f"Query of example {number}").fill("What a day!")
            page.get_by_label(f"Response of example {number}").fill("Good.")
    page.get_by_role("button", name="Send").click()
