"""Nothing is lost: network or server gone, session over, two tabs, back button, sent twice."""

import json
from itertools import count

import pytest
from playwright.sync_api import expect
from sqlalchemy import update
from tests.web.conftest import saved
from tests.web.site import PASSWORD, TIDES, Site, answers, make_site, prompt

from understudy.store.engine import reading, writing
from understudy.store.labeling_tables import drafts, sessions

NAMES = (f"Writer {number}" for number in count())
TEXT = "The moon pulls on the sea, and the sea follows."


@pytest.fixture(scope="module")
def project(site: Site) -> Site:
    """Prompts to demonstrate, and some to rank."""
    site.add([prompt(f"d{i}", f"Why are there {i} tides?") for i in range(40)])
    ranked = [prompt(f"r{i}", f"And {i} moons?") for i in range(20)]
    site.add(ranked, [one for to in ranked for one in answers(to, TIDES[:4])])
    site.plan("demonstrate", "rank")
    return site


@pytest.fixture
def writer(project: Site, open_page):
    """Somebody new with a prompt to demonstrate: (page, account id)."""

    def make(kind: str = "demonstrate"):
        name = next(NAMES)
        account_id = project.account(name)
        page = open_page(project, name)
        page.goto(f"/work?kind={kind}")
        page.locator(".desk").wait_for()
        return page, account_id

    return make


def editor(page):
    return page.get_by_label("Your response")


def state(page):
    return page.locator("#save-state")


def texts_sent(project: Site, account_id: str) -> list[str]:
    return [json.loads(row["body"])["text"] for row in project.sent(account_id)]


def stored_drafts(project: Site, account_id: str) -> list[dict]:
    ids = [row["id"] for row in project.assignments(account_id)]
    with reading(project.store.engine) as connection:
        query = drafts.select().where(drafts.c.assignment_id.in_(ids))
        return [json.loads(row["body"]) for row in connection.execute(query).mappings()]


def test_a_draft_is_saved_while_one_writes_and_comes_back(project: Site, writer, open_page) -> None:
    page, account_id = writer()
    editor(page).press_sequentially(TEXT)
    saved(page)
    assert stored_drafts(project, account_id)[0]["text"] == TEXT
    page.reload()
    expect(editor(page)).to_have_value(TEXT)
    name = page.locator("html").get_attribute("data-name")
    elsewhere = open_page(project, name)  # another browser knows nothing but the server's draft
    elsewhere.goto("/work?kind=demonstrate")
    expect(editor(elsewhere)).to_have_value(TEXT)


def test_without_network_work_goes_on_and_is_sent_later(project: Site, writer) -> None:
    page, account_id = writer()
    page.context.set_offline(True)
    editor(page).fill(TEXT)
    expect(state(page)).to_have_text("Kept in this browser")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".waiting")).to_contain_text("Your answer is kept in this browser.")
    assert not project.sent(account_id)
    page.context.set_offline(False)
    expect(page.locator(".toast")).to_contain_text("Sent.")
    assert texts_sent(project, account_id) == [TEXT]
    assert stored_drafts(project, account_id) == [] or len(project.sent(account_id)) == 1


def test_an_answer_that_waits_survives_the_closed_page(project: Site, writer) -> None:
    page, account_id = writer()
    page.context.set_offline(True)
    editor(page).fill(TEXT)
    page.keyboard.press("Control+Enter")
    page.locator(".waiting").wait_for()
    page.close()
    page.context.set_offline(False)
    again = page.context.new_page()
    again.goto("/work")
    expect(again.locator(".toast")).to_contain_text("An answer kept in this browser has been sent.")
    assert texts_sent(project, account_id) == [TEXT]


def test_a_reply_that_is_lost_leaves_one_label(project: Site, writer) -> None:
    page, account_id = writer()
    lost = []

    def lose(route) -> None:
        route.fetch()  # the server has it
        lost.append(route.request.post_data)
        route.abort()  # and the browser never hears of it

    page.route("**/submit", lose, times=1)
    editor(page).fill(TEXT)
    page.keyboard.press("Control+Enter")
    page.locator(".waiting").wait_for()
    page.get_by_role("button", name="Try now").click()
    expect(page.locator(".toast")).to_contain_text("Sent.")
    (row,) = project.sent(account_id)
    assert row["id"] == json.loads(lost[0])["id"]


def test_a_reply_that_is_lost_and_a_changed_mind_become_a_revision(project: Site, writer) -> None:
    page, account_id = writer()
    page.route("**/submit", lambda route: (route.fetch(), route.abort()), times=1)
    editor(page).fill(TEXT)
    page.keyboard.press("Control+Enter")
    page.locator(".waiting").wait_for()
    page.get_by_role("button", name="Back to the task").click()
    editor(page).fill(f"{TEXT} Twice a day.")
    page.keyboard.press("Control+Enter")
    page.get_by_role("button", name="Replace it with this one").click()
    expect(page.locator(".toast")).to_contain_text("Sent.")
    assert texts_sent(project, account_id) == [TEXT, f"{TEXT} Twice a day."]
    assert project.sent(account_id)[1]["revises"] == project.sent(account_id)[0]["id"]


@pytest.mark.thorough
def test_a_session_that_ends_asks_in_place_and_keeps_the_text(project: Site, writer) -> None:
    page, account_id = writer()
    editor(page).fill("The moon")
    saved(page)
    _end_sessions(project, account_id)
    editor(page).press_sequentially(" pulls.")
    dialog = page.get_by_role("dialog", name="Signed out")
    dialog.get_by_label("Password").fill("not the password")
    dialog.get_by_role("button", name="Sign in and continue").click()
    expect(dialog.get_by_role("alert")).to_contain_text("wrong")
    dialog.get_by_label("Password").fill(PASSWORD)
    dialog.get_by_role("button", name="Sign in and continue").click()
    expect(dialog).to_have_count(0)
    saved(page)
    expect(editor(page)).to_have_value("The moon pulls.")
    _end_sessions(project, account_id)
    page.keyboard.press("Control+Enter")  # the same when it ends just before sending
    dialog.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator(".toast")).to_contain_text("Sent.")
    assert texts_sent(project, account_id) == ["The moon pulls."]


def _end_sessions(project: Site, account_id: str) -> None:
    """As after its time, or after a new password elsewhere."""
    with writing(project.store.engine) as connection:
        ended = update(sessions).where(sessions.c.account_id == account_id)
        connection.execute(ended.values(revoked_at="2026-01-01T00:00:00.000000+00:00"))


@pytest.mark.thorough
def test_the_newest_tab_has_the_task_and_the_other_gives_way(project: Site, writer) -> None:
    page, account_id = writer()
    editor(page).fill("The moon")
    saved(page)
    second = page.context.new_page()
    second.goto("/work?kind=demonstrate")
    expect(editor(second)).to_have_value("The moon")
    expect(page.locator("#stage h1")).to_have_text("You are working in another tab")
    editor(second).press_sequentially(" pulls.")
    saved(second)
    page.get_by_role("button", name="Work here instead").click()
    expect(editor(page)).to_have_value("The moon pulls.")
    expect(second.locator("#stage h1")).to_have_text("You are working in another tab")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".toast")).to_contain_text("Sent.")
    assert texts_sent(project, account_id) == ["The moon pulls."]


@pytest.mark.thorough
def test_two_devices_are_asked_which_draft_stays(project: Site, writer, open_page) -> None:
    page, account_id = writer()
    editor(page).fill("On the desk.")
    saved(page)
    name = page.locator("html").get_attribute("data-name")
    phone = open_page(project, name, width=360)
    phone.goto("/work?kind=demonstrate")
    expect(editor(phone)).to_have_value("On the desk.")
    editor(phone).fill("On the phone.")
    saved(phone)
    editor(page).fill("On the desk, later.")
    dialog = page.get_by_role("dialog", name="There are two drafts of this task")
    expect(dialog).to_contain_text("On the phone.")
    expect(dialog).to_contain_text("On the desk, later.")
    dialog.get_by_role("button", name="Use the one here").click()
    saved(page)
    assert stored_drafts(project, account_id)[0]["text"] == "On the desk, later."
    editor(phone).fill("On the phone, last.")
    phone.get_by_role("button", name="Use the saved one").click()
    expect(editor(phone)).to_have_value("On the desk, later.")


def test_back_goes_through_the_steps_and_to_the_task_before(project: Site, writer) -> None:
    page, _ = writer("rank")
    title = page.locator(".answer.alone h2")
    page.keyboard.press("5")
    page.keyboard.press("Enter")
    expect(title).to_have_text("Response B")
    page.go_back()
    expect(title).to_have_text("Response A")
    expect(page.get_by_role("radio", name="5", exact=True)).to_be_checked()
    page.go_forward()
    expect(title).to_have_text("Response B")
    page.locator(".step").last.click()
    page.get_by_role("button", name="Unsure").click()
    page.get_by_role("dialog").get_by_role("button", name="Send").click()
    expect(page.locator(".toast")).to_contain_text("Sent.")
    page.get_by_role("button", name="Change it").click()
    expect(page.locator(".task-head .badge")).to_have_text("Sent; you can change it")
    expect(page.get_by_role("heading", name="Rate and rank")).to_be_visible()


def test_a_sent_answer_can_be_changed_and_the_old_one_stays(project: Site, writer) -> None:
    page, account_id = writer()
    editor(page).fill(TEXT)
    page.keyboard.press("Control+Enter")
    page.get_by_role("button", name="Change it").click()
    expect(editor(page)).to_have_value(TEXT)
    editor(page).fill("Shorter.")
    page.get_by_role("button", name="Send the change").click()
    expect(page.locator(".toast")).to_contain_text("Sent.")
    assert texts_sent(project, account_id) == [TEXT, "Shorter."]


def test_a_skip_can_be_taken_back(project: Site, writer) -> None:
    page, account_id = writer()
    editor(page).fill("Half a")
    saved(page)
    page.get_by_role("button", name="Skip: the task is unclear").click()
    page.get_by_role("dialog").get_by_label("Another reason").check()
    page.get_by_role("dialog").get_by_role("button", name="Skip").click()
    with page.expect_response("**/unskip"):
        page.get_by_role("button", name="Take it back").click()
    expect(editor(page)).to_have_value("Half a")
    assert "skipped" not in [row["state"] for row in project.assignments(account_id)]


def test_a_skip_is_taken_back_before_the_next_task_is_there(project: Site, writer) -> None:
    page, _ = writer()
    editor(page).fill("Half a")
    saved(page)
    mine, held = page.url, []
    page.route("**/api/next", lambda route: held.append((route, route.fetch())))
    page.get_by_role("button", name="Skip: the task is unclear").click()
    page.get_by_role("dialog").get_by_label("Another reason").check()
    page.get_by_role("dialog").get_by_role("button", name="Skip").click()
    with page.expect_response("**/unskip"):
        page.get_by_role("button", name="Take it back").click()
    page.wait_for_url(mine)
    expect(editor(page)).to_be_focused()  # the task is drawn again
    expect(editor(page)).to_have_value("Half a")
    with page.expect_response("**/api/next"):
        (route, answer), *_ = held
        route.fulfill(response=answer)
    with page.expect_response("**/draft"):  # what is written now is written to one's own
        editor(page).fill("Half a text.")
    saved(page)
    assert page.url == mine
    page.reload()
    expect(editor(page)).to_have_value("Half a text.")


def test_nobody_types_into_a_task_that_is_over(writer) -> None:
    page, _ = writer()
    editor(page).fill("Done.")
    saved(page)
    held = []
    page.route("**/api/next", lambda route: held.append(route))
    with page.expect_request("**/api/next"):
        page.keyboard.press("Control+Enter")
    page.keyboard.type(" And more.")
    expect(editor(page)).to_have_value("Done.")
    held[0].continue_()
    expect(editor(page)).to_have_value("")
    expect(editor(page)).to_be_focused()


@pytest.mark.thorough
def test_the_server_dies_and_comes_back(tmp_path, open_page) -> None:
    site = make_site(tmp_path)
    site.start()
    site.add([prompt("d0", "Why are there tides?")])
    site.plan("demonstrate")
    account_id = site.account("Ann")
    try:
        page = open_page(site, "Ann")
        editor(page).fill("The moon")
        saved(page)
        page.clock.install()
        site.stop()
        editor(page).press_sequentially(" pulls.")
        expect(state(page)).to_have_text("Kept in this browser")
        page.keyboard.press("Control+Enter")
        page.locator(".waiting").wait_for()
        # The page tries again by itself every few seconds; here somebody does first.
        page.clock.pause_at(page.evaluate("new Date(Date.now() + 1000).toISOString()"))
        site.start()
        page.get_by_role("button", name="Try now").click()
        expect(page.locator(".toast")).to_contain_text("Sent.")
        assert texts_sent(site, account_id) == ["The moon pulls."]
    finally:
        site.stop()
