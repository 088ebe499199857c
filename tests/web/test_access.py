"""For everybody: axe finds nothing serious on any page, and nothing scrolls sideways at 360 px."""

from pathlib import Path

import pytest
from playwright.sync_api import expect
from tests.web.axe import check, looks
from tests.web.conftest import sign_in
from tests.web.site import Site, answers, prompt
from tests.web.team import team

OWNER_PAGES = (
    "/owner",
    "/owner/queue",
    "/owner/agreement",
    "/owner/disagreements",
    "/owner/labelers",
    "/owner/gold",
    "/owner/rubric",
    "/owner/audit",
    "/owner/exports",
)


@pytest.fixture(scope="module")
def project(site: Site) -> Site:
    """A team at work; then something of each kind to do for Ida, a whole queue for nobody else."""
    site.ids = team(site)
    to_rank = [prompt(f"r{i}", "Why are there tides? " * (1 + 30 * i)) for i in range(4)]
    talks = [prompt(f"talk{i}", "Hello? " * 40 + "x" * 200) for i in range(2)]
    site.add([*to_rank, *talks], [one for to in to_rank for one in answers(to)])
    site.plan("rank", "demonstrate", "write", num_prompts=4)
    site.account("Ida")
    site.account("Uma", ready=False)
    return site


@pytest.fixture
def look(project: Site, open_page):
    """Pages of a size and scheme."""

    def make(name: str | None, scheme: str, width: int):
        return open_page(project, name, width=width, color_scheme=scheme, reduced_motion="reduce")

    return make


@looks("light")
def test_doors(project: Site, look, scheme, width) -> None:
    page = look(None, scheme, width)
    page.goto("/sign-in")
    check(page)
    page.goto(project.invite(f"Guest {scheme}", role=None))
    page.locator("#invitation").wait_for()
    check(page)
    page.goto("/invitation#no-such-token")
    expect(page.locator("#lead")).to_contain_text("used or has expired")
    check(page)
    page.goto("/nowhere")
    check(page)


@pytest.mark.thorough
@looks("dark")
def test_before_and_around_work(project: Site, look, scheme, width) -> None:
    page = look("Uma", scheme, width)
    page.goto("/instructions")
    page.locator("#order").wait_for()
    check(page)
    page.goto("/me")
    page.locator("#topics fieldset").first.wait_for()
    check(page)
    sign_in(page, "Ann")
    page.goto("/history")
    page.locator("#history li").first.wait_for()
    check(page)
    page.goto("/waiting")
    check(page)


@pytest.mark.thorough
@looks("light")
def test_every_kind_of_work(project: Site, look, scheme, width) -> None:
    page = look("Ida", scheme, width)
    page.goto("/work?kind=demonstrate")
    page.locator(".editor").wait_for()
    page.locator(".tags summary").click()
    page.get_by_label("Group that the prompt concerns most").select_option("nurses")
    expect(page.locator(".tags summary")).to_contain_text("1 of 13 answered")
    check(page)
    page.get_by_role("button", name="Skip: the task is unclear").click()
    check(page)
    page.get_by_role("dialog").get_by_role("button", name="Skip").click()
    expect(page.locator(".toast")).to_contain_text("Skipped")
    page.goto("/work?kind=write")
    page.locator(".editor").first.wait_for()
    check(page)
    page.get_by_role("button", name="Skip: the task is unclear").click()
    page.get_by_role("dialog").get_by_role("button", name="Skip").click()
    expect(page.locator(".toast")).to_contain_text("Skipped")

    page.goto("/work?kind=rank")
    page.locator(".answer.alone").wait_for()
    check(page)
    page.keyboard.press("?")
    check(page)
    page.keyboard.press("Escape")
    page.locator(".step").last.click()
    for key in "1b1":
        page.keyboard.press(key)
    check(page)
    for key in "avbv":
        page.keyboard.press(key)
    page.get_by_role("dialog").wait_for()
    check(page)
    page.keyboard.press("Escape")
    page.keyboard.press("x")
    page.get_by_role("dialog").get_by_role("button", name="Skip").click()
    expect(page.locator(".toast")).to_contain_text("Skipped")


@pytest.mark.thorough
@looks("dark")
def test_every_page_of_the_owner(project: Site, look, scheme, width) -> None:
    page = look("Olga", scheme, width)
    item = next(row.id for row in project.items("rank") if row.prompt_id == "t00")
    dan = project.ids["Dan"]
    for path in (*OWNER_PAGES, f"/owner/disagreements/{item}", f"/owner/labelers/{dan}"):
        page.goto(path)
        page.locator("#page[aria-busy=false]").wait_for()
        assert page.locator(".trouble[role=alert]").all_text_contents() == [], path
        page.evaluate("document.querySelectorAll('details').forEach(one => (one.open = true))")
        check(page)


def test_a_picture_with_words_is_there_for_every_template() -> None:
    """Each template is opened by a test above; a new one has to be added."""
    import understudy.labeling

    folder = Path(understudy.labeling.__file__).parent / "templates"
    names = {path.stem for path in folder.glob("*.html")} - {"base"}
    owner = {f"owner_{path.split('/')[-1]}" for path in OWNER_PAGES if path != "/owner"}
    seen = {"sign_in", "invitation", "error", "instructions", "me", "history", "waiting", "work"}
    assert names == seen | owner | {"owner_home", "owner_disagreement", "owner_labeler"}
