"""The way on from every state of `labeling/ways.py`, walked by clicks and what forms ask."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import expect
from sqlalchemy import select, update
from tests.web.conftest import sign_in
from tests.web.site import PASSWORD, TIDES, Site, answers, prompt

from understudy.labeling.clock import stamp, utc_now
from understudy.labeling.ways import WAYS
from understudy.records import Response
from understudy.store.engine import reading, writing
from understudy.store.labeling_tables import accounts, assignments, items
from understudy.store.prompts.records import FeedbackRow
from understudy.store.queue.leases import end_expired

WALKED: set[tuple[str, str]] = set()
"""States with a walk below."""


def walks(of: str, *states: str) -> Callable[[Any], Any]:
    """Say which states a test walks on from."""
    WALKED.update((of, state) for state in states)
    return lambda test: test


@pytest.fixture(scope="module")
def screened(site: Site) -> Site:
    """A candidate's practice and screening; nothing else in the queue."""
    golds = [prompt(f"g{i}", f"Why are there tides, {i}?") for i in range(2)]
    site.add(golds, [one for to in golds for one in answers(to, (TIDES[0], TIDES[3]))])
    site.plan("rank")
    author = site.account("Rita", role="researcher")
    for item, use in zip(site.items("rank"), ("practice", "screening"), strict=True):
        good, bad = site.responses_of(item.id)
        site.make_gold(item.id, use, author, {"tiers": [[good], [bad]], "ratings": {}})
    site.ids["Olga"] = site.account("Olga", role=None, owner=True)
    return site


@pytest.fixture
def project(screened: Site) -> Iterator[Site]:
    """The same; what a test leaves in the queue is nobody's task in the next one."""
    yield screened
    with writing(screened.store.engine) as connection:
        connection.execute(update(items).where(items.c.pool != "gold").values(state="done"))


@pytest.fixture
def owner(project: Site, open_page):
    page = open_page(project, "Olga")
    loaded(page)  # an answer that nobody waited for would be given to who asks next
    return page


def go(page, name: str) -> None:
    """By the bar."""
    page.get_by_role("navigation", name="Pages").get_by_role("link", name=name, exact=True).click()
    loaded(page)


def loaded(page) -> None:
    page.locator("#page[aria-busy=false]").wait_for()


def press(page, name: str, **options: Any) -> None:
    page.get_by_role("button", name=name, exact=True, **options).first.click()


def queued(site: Site, name: str, **options: Any) -> None:
    """A prompt with two responses, in the queue."""
    to = prompt(name, f"Why is there {name}?")
    site.add([to], answers(to, TIDES[:2]))
    site.plan("rank", **options)


def rank(page, *, first: int = 1) -> None:
    """Rate both answers and rank them, the first one in tier `first`, and send."""
    for _ in range(2):
        page.locator(".scale label").nth(3).click()
        page.locator("#next").click()
    page.locator(".ladder").wait_for()
    for place, card in enumerate(page.locator(".answers .answer").all()):
        card.locator(".places label").nth((first + place + 1) % 2).click()
    page.locator("#submit").click()


def state_of(site: Site, prompt_id: str, round_: int = 0) -> str:
    query = select(items.c.state).where(items.c.prompt_id == prompt_id, items.c.round == round_)
    with reading(site.store.engine) as connection:
        return str(connection.execute(query).scalar_one())


@pytest.mark.thorough
@walks("candidate", "invited", "instructions", "practice", "screening", "waiting")
def test_from_a_lost_invitation_to_work(project: Site, owner, open_page) -> None:
    go(owner, "Labelers")
    owner.get_by_text("Invite somebody").click()
    owner.get_by_label("Name").fill("Cara")
    press(owner, "Make an invitation")  # and the link is lost
    owner.get_by_label("Invitation link").wait_for()
    go(owner, "Labelers")
    owner.get_by_role("link", name="Cara").click()
    press(owner, "New password link")
    page = open_page(project)
    page.goto(owner.get_by_label("Password link").input_value())
    page.locator("#password").fill(PASSWORD)
    page.locator("#again").fill(PASSWORD)
    press(page, "Begin")
    press(page, "I have read this")
    expect(page.locator(".task-head .badge")).to_have_text("Practice")
    rank(page)
    press(page, "Continue")
    expect(page.locator(".task-head .badge")).to_have_text("Screening")
    rank(page)
    page.wait_for_url("**/waiting")
    go(owner, "Overview")
    owner.locator(".todo").get_by_role("link", name="1 candidate waiting for a decision").click()
    owner.get_by_role("link", name="Cara").click()
    press(owner, "Decide")
    expect(owner.get_by_text("training · active")).to_be_visible()
    page.get_by_role("link", name="Look again").click()
    expect(page.get_by_role("heading", name="Nothing to do right now")).to_be_visible()


@walks("candidate", "rejected")
def test_who_was_turned_away_may_still_get_a_role(project: Site, owner, open_page) -> None:
    who = project.account("Rob", role=None, ready=False)
    with writing(project.store.engine) as connection:
        mine = update(accounts).where(accounts.c.id == who)
        connection.execute(mine.values(stage="rejected"))
    page = open_page(project, "Rob")
    expect(page).to_have_url(re.compile("/waiting"))
    go(owner, "Labelers")
    owner.get_by_role("link", name="Rob").click()
    press(owner, "Decide")
    expect(owner.get_by_text("training · active")).to_be_visible()
    page.get_by_role("link", name="Look again").click()
    press(page, "I have read this")
    page.wait_for_url("**/work*")


@pytest.mark.thorough
@walks("labeler", "active", "disabled")
def test_a_labeler_looks_again_and_one_who_was_shut_out_comes_back(
    project: Site, owner, open_page
) -> None:
    project.account("Lea")
    page = open_page(project, "Lea")
    expect(page.get_by_role("heading", name="Nothing to do right now")).to_be_visible()
    go(owner, "Labelers")
    owner.get_by_role("link", name="Lea").click()
    press(owner, "Disable")
    expect(owner.locator(".badge.bad")).to_have_text("disabled")
    press(owner, "Enable")
    expect(owner.locator(".badge.bad")).to_have_count(0)
    sign_in(page, "Lea")
    queued(project, "lea")
    press(page, "Look again")
    page.locator(".answer.alone").wait_for()
    rank(page)
    expect(page.locator(".toast")).to_contain_text("Sent.")


@pytest.mark.thorough
@walks("item", "not queued", "open", "open or done, with later responses")
def test_what_comes_later_is_queued_from_the_page(project: Site, owner, open_page) -> None:
    project.account("Nia")
    to = prompt("late", "Why is there anything?")
    project.add([to], answers(to, TIDES[:2]))
    go(owner, "Queue")
    press(owner, "Fill the queue")
    expect(owner.locator(".toast")).to_contain_text("rank: 1 item added")
    page = open_page(project, "Nia")
    rank(page)
    expect(page.get_by_role("heading", name="Nothing to do right now")).to_be_visible()
    assert state_of(project, "late") == "done"
    later = [Response(id="late-x", prompt_id="late", prompt=to.prompt, response="42.", model="m")]
    project.store.add_responses(later)
    go(owner, "Overview")
    owner.locator(".todo").get_by_role("link", name="with responses that came later").click()
    loaded(owner)
    press(owner, "Fill the queue")
    expect(owner.locator(".toast")).to_contain_text("new responses, together: 1 item added")
    press(page, "Look again")
    expect(page.locator(".step")).to_have_count(4)  # three answers, and all of them
    press(page, "Skip")
    press(page.get_by_role("dialog"), "Skip")


@walks("item", "open, nobody left")
def test_items_for_more_people_than_there_are_are_ended(project: Site, owner) -> None:
    queued(project, "crowd", overlap=1.0, labels_per_overlap=3)
    with writing(project.store.engine) as connection:  # everybody has had it, one has ranked it
        everybody = connection.execute(select(accounts.c.id)).scalars().all()
        mine = update(items).where(items.c.prompt_id == "crowd").values(num_done=1)
        connection.execute(mine)
        item = connection.execute(select(items.c.id).where(items.c.prompt_id == "crowd")).scalar()
        shared = {"item_id": item, "stage": "work", "shown": "[]", "state": "skipped"}
        times = dict.fromkeys(("leased_at", "expires_at", "beat_at"), stamp(utc_now()))
        rows = [
            {"id": f"as-crowd-{n}", "account_id": who, **shared, **times}
            for n, who in enumerate(everybody)
        ]
        connection.execute(assignments.insert(), rows)
    go(owner, "Overview")
    owner.locator(".todo").get_by_role("link", name="more people than the team has").click()
    loaded(owner)
    expect(owner.get_by_role("link", name="Invite somebody")).to_be_visible()
    press(owner, "End them")
    expect(owner.get_by_role("button", name="End them")).to_have_count(0)
    assert state_of(project, "crowd") == "done"


@pytest.mark.thorough
@walks("item", "done")
def test_a_done_item_on_which_labelers_disagree_is_decided(project: Site, owner, open_page) -> None:
    queued(project, "split", overlap=1.0, labels_per_overlap=2, max_labels=2)
    for name, first in (("Pat", 1), ("Quin", 0)):
        project.account(name)
        page = open_page(project, name)
        page.locator(".answer.alone").wait_for()
        text = page.locator(".answer.alone .prose").text_content()
        rank(
            page, first=first if text.startswith(TIDES[0][:60]) and "nearer" in text else 1 - first
        )
        expect(page.locator(".toast")).to_contain_text("Sent.")
    go(owner, "Disagreements")
    owner.locator("tbody tr a").first.click()
    loaded(owner)
    press(owner, "Ask for more labels")
    expect(owner.locator(".toast")).to_contain_text("Decided.")
    assert state_of(project, "split") == "open"


@walks("item", "set_aside", "closed")
def test_what_was_set_aside_or_closed_is_sent_back(project: Site, owner) -> None:
    queued(project, "aside")
    with writing(project.store.engine) as connection:
        mine = update(items).where(items.c.prompt_id == "aside")
        connection.execute(mine.values(state="set_aside", num_skips=3))
    go(owner, "Overview")
    owner.locator(".todo").get_by_role("link", name="set aside after several skips").click()
    loaded(owner)
    row = owner.get_by_role("row", name=re.compile("Why is there aside"))
    row.get_by_role("button", name="Close").click()
    expect(row.get_by_text("closed", exact=True)).to_be_visible()
    assert state_of(project, "aside") == "closed"
    row.get_by_role("button", name="Send back").click()
    expect(row).to_have_count(0)
    assert state_of(project, "aside") == "open"


@pytest.mark.thorough
@walks("task", "leased", "skipped", "expired", "done")
def test_a_task_is_skipped_taken_back_sent_late_and_changed(project: Site, open_page) -> None:
    who = project.account("Tom")
    queued(project, "task")
    page = open_page(project, "Tom")
    page.locator(".answer.alone").wait_for()
    press(page, "Skip")
    press(page.get_by_role("dialog"), "Skip")
    page.locator(".toast").get_by_role("button", name="Take it back").click()
    page.locator(".answer.alone").wait_for()
    with writing(project.store.engine) as connection:
        over = update(assignments).where(assignments.c.account_id == who)
        connection.execute(over.values(expires_at="2026-01-01T00:00:00.000000+00:00"))
    end_expired(project.store, stamp(utc_now()))
    rank(page)
    expect(page.locator(".toast")).to_contain_text("Sent late, but kept.")
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="History").click()
    page.locator("#history a").first.click()
    page.locator(".answers .answer").first.locator(".places label").nth(1).click()
    page.get_by_role("button", name="Send the change").click()
    expect(page.locator(".toast")).to_contain_text("Sent.")
    assert len(project.sent(who)) == 2


@walks("export", "waiting", "running", "done", "failed")
def test_a_failed_export_says_why_and_is_tried_again(project: Site, owner) -> None:
    folder = project.project.datasets
    folder.rmdir()
    folder.write_text("in the way")
    queued(project, "thumb")
    given = FeedbackRow("f", "thumb-r0", "thumb", "up", stamp(utc_now()))
    project.store.add_feedback([given])
    go(owner, "Exports")
    owner.get_by_label("What").select_option("feedback")
    press(owner, "Export")
    expect(owner.locator("#jobs .badge").first).to_have_text("failed")
    why = owner.locator("#jobs .trouble").first.text_content()
    assert str(folder) in why
    assert "Traceback" not in why
    folder.unlink()
    folder.mkdir()
    press(owner, "Try again")
    expect(owner.locator("#jobs .badge").first).to_have_text("done")
    with owner.expect_download() as waiting:
        owner.get_by_role("link", name="Download").first.click()
    (line,) = waiting.value.path().read_text().splitlines()
    assert json.loads(line)["desirable"] is True
    assert json.loads(line)["response"] == TIDES[0]
    owner.get_by_label("Split").select_option("valid")
    press(owner, "Export")
    why = owner.locator("#jobs .trouble").first
    expect(why).to_have_text("the store has no feedback for training in the split valid")


def test_every_state_was_walked() -> None:
    assert {(way.of, way.state) for way in WAYS} == WALKED
