"""An owner's day in a browser: queue, invitation, disagreement, rubric, export, audit log."""

import hashlib
import re

import pytest
from playwright.sync_api import expect
from tests.web.conftest import sign_in
from tests.web.site import MODEL, PASSWORD, Site
from tests.web.team import team


@pytest.fixture(scope="module")
def project(site: Site) -> Site:
    team(site)
    return site


@pytest.fixture
def owner(project: Site, open_page):
    return open_page(project, "Olga")


def go(page, name: str) -> None:
    """By the bar."""
    page.get_by_role("navigation", name="Pages").get_by_role("link", name=name, exact=True).click()
    page.locator("#page[aria-busy=false]").wait_for()


def test_the_overview_shows_pace_agreement_and_what_waits(owner) -> None:
    expect(owner).to_have_url(re.compile("/owner$"))
    owner.locator("#page[aria-busy=false]").wait_for()
    expect(owner.locator(".tile", has_text="active labelers").locator("b")).to_have_text("5")
    expect(owner.locator(".facts")).to_contain_text(re.compile(r"\d+% \(\d+.\d+%\)\d+ pairs"))
    expect(owner.locator(".todo")).to_contain_text("disagreement")
    image = owner.locator(".plot img")
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    assert "day" in image.get_attribute("alt")


@pytest.mark.thorough
def test_the_queue_and_the_agreement_say_their_counts(owner) -> None:
    go(owner, "Queue")
    expect(owner.get_by_role("row", name=re.compile("rank training"))).to_contain_text("of")
    go(owner, "Agreement")
    dan = owner.get_by_role("row", name=re.compile("^Dan"))
    expect(dan.first).to_contain_text("pairs")
    owner.get_by_role("link", name="a disagreement", exact=True).click()
    expect(owner).to_have_url(re.compile("ties=exact"))
    expect(owner.locator(".matrix")).to_be_visible()


def test_an_invitation_made_here_signs_somebody_in(project: Site, owner, open_page) -> None:
    go(owner, "Labelers")
    owner.get_by_text("Invite somebody").click()
    owner.get_by_label("Name").fill("Gil")
    owner.get_by_label("Role").select_option("training")
    owner.get_by_label("With practice and screening").uncheck()
    owner.get_by_role("button", name="Make an invitation").click()
    link = owner.get_by_label("Invitation link").input_value()
    page = open_page(project)
    page.goto(link)
    page.locator("#password").fill(PASSWORD)
    page.locator("#again").fill(PASSWORD)
    page.get_by_role("button", name="Begin").click()
    page.wait_for_url("**/instructions")
    page.goto(link)  # it works once
    expect(page.locator("#lead")).to_contain_text("This link was used or has expired")
    go(owner, "Labelers")
    owner.get_by_role("link", name="Gil").click()
    owner.get_by_role("button", name="Disable").click()
    expect(owner.locator(".badge.bad")).to_have_text("disabled")
    page.goto("/")
    expect(page).to_have_url(re.compile("/sign-in"))


def test_a_disagreement_is_decided_by_ranking_it(project: Site, owner) -> None:
    go(owner, "Disagreements")
    first = owner.locator("tbody tr a").first
    path = first.get_attribute("href")
    first.click()
    owner.locator("#page[aria-busy=false]").wait_for()
    said = owner.get_by_role("region", name="What the labelers said")
    expect(said).to_contain_text("Labeler 2")
    text = owner.locator("body").text_content()
    assert not any(name in text for name in ("Ann", "Ben", "Dan", MODEL))  # blind
    owner.get_by_role("button", name="Decide this ranking").click()
    expect(owner.locator(".toast")).to_contain_text("Response A has no tier yet.")
    owner.locator("[data-answer=a1]").click(position={"x": 100, "y": 10})
    for key in ("1", "b2", "c2", "d4"):
        for stroke in key:
            owner.keyboard.press(stroke)
    owner.get_by_label("Why").fill("B and C are equally good.")
    owner.get_by_role("button", name="Decide this ranking").click()
    owner.wait_for_url(lambda url: not url.endswith(path))
    owner.goto(path)
    expect(owner.locator(".judging")).to_contain_text("Decided: ranked by Olga")
    expect(owner.get_by_label("Why")).to_have_value("B and C are equally good.")


@pytest.mark.thorough
def test_a_new_rubric_is_read_before_the_next_item(project: Site, owner, open_page) -> None:
    go(owner, "Rubric")
    owner.get_by_text("Write the next version").click()
    text = owner.get_by_label("Instructions")
    text.fill(text.input_value() + "\n\nShort answers are fine.")
    owner.get_by_role("button", name="harmless up").first.click()
    owner.get_by_role("button", name="Show what changes").click()
    expect(owner.locator(".diff .added").last).to_contain_text("Short answers are fine.")
    version = owner.get_by_label("Name").input_value()
    owner.get_by_role("button", name="Publish this version").click()
    expect(owner.locator(".version summary").first).to_contain_text(version)
    expect(owner.locator(".version").first).to_contain_text("helpful, harmless, truthful")
    page = open_page(project)
    sign_in(page, "Ann")
    expect(page).to_have_url(re.compile("/instructions"))
    expect(page.locator("#text")).to_contain_text("Short answers are fine.")
    page.get_by_role("button", name="I have read this").click()
    page.wait_for_url("**/work*")


@pytest.mark.thorough
def test_an_export_runs_and_its_hash_is_right(owner) -> None:
    go(owner, "Exports")
    owner.get_by_role("button", name="Export").click()
    expect(owner.locator("#jobs .badge").first).to_have_text("done")
    with owner.expect_download() as waiting:
        owner.get_by_role("link", name="Download").first.click()
    content = waiting.value.path().read_bytes()
    assert hashlib.sha256(content).hexdigest() == owner.get_by_label("sha256").first.input_value()
    assert b"k-" in content


@pytest.mark.thorough
def test_the_audit_log_is_whole_and_shows_who_did_it(owner) -> None:
    go(owner, "Audit")
    owner.get_by_role("button", name="Check the chain").click()
    expect(owner.locator(".badge.good")).to_contain_text("intact")
    owner.get_by_label("Only actions that begin with").fill("invitation")
    owner.keyboard.press("Enter")
    owner.locator("#page[aria-busy=false]").wait_for()
    actions = owner.locator("tbody tr td:nth-child(4)").all_text_contents()
    assert actions
    assert all(action.startswith("invitation") for action in actions)
