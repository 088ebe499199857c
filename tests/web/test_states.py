"""For everybody, in every state: what a labeler can meet beside a task, looked at by axe."""

import json
from itertools import count

import pytest
from playwright.sync_api import expect
from sqlalchemy import update
from tests.web.axe import check, looks
from tests.web.conftest import saved, sign_in
from tests.web.site import TIDES, Site, answers, prompt

from understudy.labeling.clock import stamp, utc_now
from understudy.store.engine import writing
from understudy.store.labeling_tables import accounts, assignments, drafts, items, sessions
from understudy.store.queue.leases import end_expired

NAMES = (f"Person {number}" for number in count())


@pytest.fixture(scope="module")
def project(site: Site) -> Site:
    """Practice of both kinds, screening, and enough to do for everybody."""
    golds = [prompt(f"gold{i}", "Why are there tides?") for i in range(3)]
    site.add(golds, [one for to in golds[:2] for one in answers(to, (TIDES[0], TIDES[3]))])
    site.plan("rank", "demonstrate")
    author = site.account("Rita", role="researcher")
    for item, use in zip(site.items("rank"), ("practice", "screening"), strict=True):
        good, bad = site.responses_of(item.id)
        flags = {"hallucination": True}
        ratings = {good: {"likert": 6, "flags": {}}, bad: {"likert": 1, "flags": flags}}
        site.make_gold(item.id, use, author, {"tiers": [[good], [bad]], "ratings": ratings})
    (item,) = site.items("demonstrate")
    site.make_gold(item.id, "practice", author, {"text": TIDES[0]})
    site.add([prompt(f"d{i}", f"Why are there {i} tides?") for i in range(20)])
    ranked = [prompt(f"r{i}", f"And {i} moons?") for i in range(20)]
    site.add(ranked, [one for to in ranked for one in answers(to, TIDES[:3])])
    site.plan("demonstrate", "rank")
    return site


@pytest.fixture
def person(project: Site, open_page):
    """Somebody new, signed in: (page, account id). `stage` is how far they have come."""

    def make(scheme: str, width: int, stage: str = "active"):
        name = next(NAMES)
        account_id = project.account(name)
        with writing(project.store.engine) as connection:
            mine = accounts.c.id == account_id
            role = "training" if stage == "active" else None
            connection.execute(update(accounts).where(mine).values(stage=stage, role=role))
        return open_page(project, name, **looked(scheme, width)), account_id

    return make


def looked(scheme: str, width: int) -> dict:
    """A size and a scheme, as options of a page."""
    return {"width": width, "color_scheme": scheme, "reduced_motion": "reduce"}


def editor(page):
    return page.get_by_label("Your response")


@pytest.mark.thorough
@looks("dark")
def test_practice_with_its_feedback_and_screening(person, scheme, width) -> None:
    page, _ = person(scheme, width, "practice")
    for _ in range(2):
        expect(page.locator(".task-head .badge")).to_have_text("Practice")
        check(page)
        answer(page)
        page.locator(".feedback").wait_for()
        check(page)
        page.get_by_role("button", name="Continue").click()
    expect(page.locator(".task-head .badge")).to_have_text("Screening")
    check(page)
    answer(page)
    page.wait_for_url("**/waiting")
    check(page)


def test_what_cannot_be_changed_is_read_again(project: Site, person) -> None:
    page, _ = person("light", 1280, "practice")
    page.locator(".task-head .badge").wait_for()
    answer(page)
    page.locator(".feedback").wait_for()
    page.reload()
    expect(page.locator(".feedback .why")).to_contain_text("The whales are made up.")
    page.goto("/history")
    page.locator("#history a", has_text="Practice").click()
    page.locator(".feedback").wait_for()
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".task-head .badge")).to_have_text("Practice")

    project.plan("write", num_prompts=2)
    page, _ = person("light", 1280)
    page.goto("/work?kind=write")
    page.get_by_label("Instruction").or_(page.get_by_label("Prompt", exact=True)).first.wait_for()
    for place, field in enumerate(page.locator(".judging textarea:visible").all()):
        field.fill(f"Words {place}.")
    page.locator("#submit").click()
    expect(page.locator(".toast")).to_contain_text("Sent")
    expect(page.get_by_role("button", name="Change it")).to_have_count(0)
    page.goto("/history")
    page.locator("#history a").click()
    expect(page.locator(".task-head .badge")).to_have_text("Sent")
    expect(page.get_by_text("Words 0.")).to_be_visible()
    expect(page.get_by_role("textbox")).to_have_count(0)
    with writing(project.store.engine) as connection:
        connection.execute(update(items).where(items.c.kind == "write").values(state="closed"))


def test_an_empty_response_says_so_and_a_text_without_end_is_counted(
    project: Site, open_page, person
) -> None:
    to = prompt("blank", "Say nothing.", "test")
    project.add([to], answers(to, ("", "Nothing.", "word " * 99)))
    project.plan("rank")
    project.account("Hugo", role="held_out")
    page = open_page(project, "Hugo")
    page.goto("/work?kind=rank")
    page.locator(".answer.alone").wait_for()
    page.get_by_role("button", name="Rank all").click()
    expect(page.get_by_text("(empty)")).to_be_visible()

    page, _ = person("light", 1280)
    page.goto("/work?kind=demonstrate")
    editor(page).fill("字" * 120_000)
    expect(page.locator(".count")).to_have_text("120000 of 1024 words: 118976 too many")


def answer(page) -> None:
    """Whatever is asked, in the researcher's sense or not."""
    if page.locator("#stage h1").text_content() == "Demonstrate":
        editor(page).fill("Because of the moon.")
        page.get_by_role("button", name="Send").click()
        return
    for key in ("6", "Enter", "2", "Enter", "a1b2", "Enter"):
        for stroke in [key] if key == "Enter" else key:
            page.keyboard.press(stroke)


@pytest.mark.thorough
@looks("light")
def test_doors_that_do_not_open(project: Site, open_page, person, scheme, width) -> None:
    page = open_page(project, **looked(scheme, width))
    page.goto("/sign-in")
    page.get_by_label("Name").fill("Nobody")
    page.get_by_label("Password").fill("not the password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("wrong")
    check(page)
    page.goto(project.invite(f"Guest {scheme}", role=None))
    page.locator("#password").fill("correct horse battery")
    page.locator("#again").fill("correct horse batterie")
    page.get_by_role("button", name="Begin").click()
    expect(page.get_by_role("alert")).to_contain_text("differ")
    check(page)
    page, _ = person(scheme, width, "rejected")
    page.goto("/work")
    page.wait_for_url("**/waiting")
    check(page)


@pytest.mark.thorough
@looks("dark")
def test_no_ranking_and_nothing_to_do(person, scheme, width) -> None:
    page, _ = person(scheme, width)
    page.goto("/work?kind=rank")
    page.locator(".answer.alone").wait_for()
    page.locator(".step").last.click()
    for name in ("Unsure", "Cannot rank"):
        page.get_by_role("button", name=name).click()
        page.get_by_role("dialog").wait_for()
        check(page)
        page.get_by_role("dialog").get_by_role("button", name="Back").click()
        expect(page.get_by_role("dialog")).to_have_count(0)
    page.locator("#submit").click()  # with nothing rated
    expect(page.locator(".trouble")).to_contain_text("no rating yet")
    check(page)
    page.goto("/work?kind=write")
    expect(page.get_by_role("heading", name="Nothing to do right now")).to_be_visible()
    check(page)
    page.goto("/work/as-none-of-mine")
    expect(page.get_by_role("heading", name="That did not work")).to_be_visible()
    check(page)


@looks("light")
def test_away_and_back(project: Site, person, scheme, width) -> None:
    page, account_id = person(scheme, width)
    page.goto("/work?kind=demonstrate")
    page.context.set_offline(True)
    editor(page).fill("The moon")
    expect(page.locator("#save-state")).to_have_text("Kept in this browser")
    check(page)
    page.keyboard.press("Control+Enter")
    page.locator(".waiting").wait_for()
    check(page)
    page.context.set_offline(False)
    expect(page.locator(".toast")).to_contain_text("Sent.")
    check(page)
    page.get_by_role("button", name="Change it").click()
    expect(page.locator(".task-head .badge")).to_have_text("Sent; you can change it")
    check(page)
    page.goto("/work?kind=demonstrate")
    editor(page).fill("The moon")
    saved(page)
    with writing(project.store.engine) as connection:
        ended = update(sessions).where(sessions.c.account_id == account_id)
        connection.execute(ended.values(revoked_at=stamp(utc_now())))
    editor(page).press_sequentially(" pulls.")
    page.get_by_role("dialog", name="Signed out").wait_for()
    check(page)


@pytest.mark.thorough
@looks("dark")
def test_two_tabs_two_devices_and_time_run_out(project: Site, person, scheme, width) -> None:
    page, _ = person(scheme, width)
    page.goto("/work?kind=demonstrate")
    editor(page).fill("On the desk.")
    saved(page)
    mine = page.url.rpartition("/")[2]
    with writing(project.store.engine) as connection:  # as another device does
        body = json.dumps({"text": "On the phone."})
        this = update(drafts).where(drafts.c.assignment_id == mine)
        connection.execute(this.values(version=drafts.c.version + 1, body=body))
    editor(page).fill("On the desk, later.")
    page.get_by_role("dialog", name="There are two drafts of this task").wait_for()
    check(page)
    page.get_by_role("button", name="Use the one here").click()
    saved(page)
    second = page.context.new_page()
    second.goto("/work?kind=demonstrate")
    expect(page.locator("#stage h1")).to_have_text("You are working in another tab")
    check(page)
    with writing(project.store.engine) as connection:
        over = update(assignments).where(assignments.c.id == mine)
        connection.execute(over.values(expires_at="2026-01-01T00:00:00.000000+00:00"))
    end_expired(project.store, stamp(utc_now()))
    second.goto(f"/work/{mine}")
    expect(second.locator("#notices")).to_contain_text("has run out")
    check(second)
    second.route("**/submit", lambda route: (route.fetch(), route.abort()), times=1)
    second.keyboard.press("Control+Enter")
    second.locator(".waiting").wait_for()
    second.get_by_role("button", name="Back to the task").click()
    editor(second).fill("Another one.")
    second.keyboard.press("Control+Enter")
    second.get_by_role("dialog", name="This task was already sent").wait_for()
    check(second)


@looks("light")
def test_another_version_of_the_instructions(project: Site, open_page, scheme, width) -> None:
    name = next(NAMES)
    project.account(name)
    project.store.add_rubric(f"v-{scheme}", "Be short.", ["helpful", "truthful", "harmless"])
    page = open_page(project, **looked(scheme, width))
    sign_in(page, name)
    expect(page.locator("#version")).to_contain_text("please read what has changed")
    check(page)
