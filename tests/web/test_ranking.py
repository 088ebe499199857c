"""Ranking by mouse, by keyboard, by touch: ties, insertion, undo, and what is stored."""

import json
from itertools import count

import pytest
from playwright.sync_api import expect
from tests.web.site import MODEL, TIDES, Site, answers, prompt

NAMES = (f"Ranker {number}" for number in count())
NUM_ANSWERS = 5


@pytest.fixture(scope="module")
def project(site: Site) -> Site:
    prompts = [prompt(f"r{i}", f"Why are there {i} tides?") for i in range(20)]
    site.add(prompts, [one for to in prompts for one in answers(to, TIDES[:NUM_ANSWERS])])
    site.plan("rank")
    return site


@pytest.fixture
def ranking(project: Site, open_page):
    """Make a page on which all answers are rated: (page, account id)."""

    def make(**options):
        name = next(NAMES)
        account_id = project.account(name)
        page = open_page(project, name, **options)
        for place in range(NUM_ANSWERS):
            expect(page.locator(".answer.alone h2")).to_have_text(f"Response {'ABCDE'[place]}")
            page.keyboard.press("4")
            page.keyboard.press("Enter")
        page.locator(".ladder").wait_for()
        return page, account_id

    return make


def tier(page, number: int):
    return page.locator(f".tiers [data-tier='{number}']")


def letters_in(page, number: int) -> str:
    return "".join(tier(page, number).locator(".chip b").all_text_contents())


def order(page) -> list[str]:
    return [letters_in(page, number) for number in range(1, NUM_ANSWERS + 1)]


def chip(page, letter: str):
    return page.locator(".ladder .chip").filter(has=page.get_by_text(letter, exact=True))


def box_of(locator) -> tuple[float, float, float, float]:
    box = locator.bounding_box()
    return box["x"], box["y"], box["width"], box["height"]


def point(locator, part: float = 0.5) -> tuple[float, float]:
    """A point in it, `part` of the way down; away from the chips at its right."""
    x, y, width, height = box_of(locator)
    return x + width * 0.9, y + height * part


def drag(page, source, onto, part: float = 0.5) -> None:
    """With the mouse, to a point of `onto` that is `part` of its height down."""
    source.scroll_into_view_if_needed()
    x, y, width, height = box_of(source)
    page.mouse.move(x + min(width, 30) / 2, y + height / 2)
    page.mouse.down()
    page.mouse.move(x + 40, y + height / 2 + 20, steps=3)
    page.mouse.move(*point(onto, part), steps=6)
    page.mouse.up()


def sent_tiers(project: Site, page, account_id: str) -> list[list[str]]:
    """Send, and read the ranking from the store."""
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".toast")).to_contain_text("Sent.")
    (row,) = project.sent(account_id)
    return json.loads(row["body"])["tiers"]


def test_by_keyboard_with_ties_arrows_and_undo(project: Site, ranking) -> None:
    page, account_id = ranking()
    page.keyboard.press("1")  # the first answer is marked
    for keys in ("b2", "c2", "d4", "e5"):
        for key in keys:
            page.keyboard.press(key)
    assert order(page) == ["A", "BC", "", "D", "E"]
    page.keyboard.press("ArrowUp")
    assert order(page) == ["A", "BC", "", "DE", ""]
    page.keyboard.press("ArrowUp")
    assert order(page) == ["A", "BC", "E", "D", ""]
    page.keyboard.press("=")  # ties with the next better one
    assert order(page) == ["A", "BCE", "", "D", ""]
    page.keyboard.press("u")
    page.keyboard.press("u")
    assert order(page) == ["A", "BC", "", "DE", ""]
    page.keyboard.press("y")
    assert order(page) == ["A", "BC", "E", "D", ""]
    page.keyboard.press("0")
    assert order(page) == ["A", "BC", "", "D", ""]
    expect(page.locator("#announcer")).to_have_text("Response E taken out. 1 left to place.")
    page.keyboard.press("Enter")  # not yet
    expect(page.get_by_role("alert")).to_have_text("Response E has no tier yet.")
    page.keyboard.press("5")
    expect(page.locator("#announcer")).to_have_text("Response E in tier 5. All are placed.")
    tiers = sent_tiers(project, page, account_id)
    assert tiers == [["a1"], ["a2", "a3"], ["a4"], ["a5"]]  # the empty tier is closed up


@pytest.mark.thorough
def test_by_mouse_with_ties_and_between_two_tiers(project: Site, ranking) -> None:
    page, account_id = ranking()
    drag(page, chip(page, "A"), tier(page, 2))
    drag(page, chip(page, "B"), tier(page, 3))
    drag(page, chip(page, "C"), tier(page, 2))  # onto A: a tie
    assert order(page) == ["", "AC", "B", "", ""]
    expect(page.locator("[data-answer=a3] .where")).to_have_text("tied with A")
    drag(page, chip(page, "D"), tier(page, 3), 0.06)  # between the second and the third
    assert order(page) == ["", "AC", "D", "B", ""]
    drag(page, page.locator("[data-answer=a5] .handle"), tier(page, 1))  # from the card
    assert order(page) == ["E", "AC", "D", "B", ""]
    drag(page, chip(page, "E"), tier(page, 2), 0.95)
    assert order(page) == ["", "AC", "E", "D", "B"]
    page.mouse.move(*point(chip(page, "B")))
    page.mouse.down()
    page.mouse.move(*point(tier(page, 1)), steps=4)
    page.keyboard.press("Escape")  # put back where it was
    page.mouse.up()
    assert order(page) == ["", "AC", "E", "D", "B"]
    assert sent_tiers(project, page, account_id) == [["a1", "a3"], ["a5"], ["a4"], ["a2"]]


class Finger:
    """A finger on the glass, as the browser's own events."""

    def __init__(self, page) -> None:
        self.session = page.context.new_cdp_session(page)

    def _send(self, kind: str, *points: tuple[float, float]) -> None:
        touches = [{"x": x, "y": y} for x, y in points]
        self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    def drag(self, start: tuple[float, float], *through: tuple[float, float]) -> None:
        self._send("touchStart", start)
        for step in through:
            self._send("touchMove", step)
        self._send("touchEnd")


@pytest.mark.thorough
def test_by_touch_on_a_small_screen(project: Site, ranking) -> None:
    page, account_id = ranking(width=360, has_touch=True, is_mobile=True)
    finger = Finger(page)
    page.locator("[data-answer=a1] .places").get_by_text("2", exact=True).tap()
    page.locator("[data-answer=a2] .places").get_by_text("1", exact=True).tap()
    page.locator("[data-answer=a3] .places").get_by_text("2", exact=True).tap()
    page.locator("[data-answer=a4] .places").get_by_text("4", exact=True).tap()
    expect(page.locator(".order-line")).to_have_text("B > A = C > D · E left")

    card = page.locator("[data-answer=a5]")
    card.scroll_into_view_if_needed()
    x, y, width, height = box_of(card.locator(".handle"))
    start = (x + width / 2, y + height / 2)
    # While a card is dragged the ladder comes up from below; then the finger is over a tier.
    finger._send("touchStart", start)
    finger._send("touchMove", (start[0] + 12, start[1] + 12))
    page.locator("body.dragging").wait_for()
    finger._send("touchMove", point(tier(page, 5)))
    expect(tier(page, 5)).to_have_attribute("data-drop", "into")
    finger._send("touchEnd")
    expect(page.locator(".order-line")).to_have_text("B > A = C > D > E")

    page.locator(".ladder").evaluate("ladder => ladder.scrollIntoView({block: 'center'})")
    x, y, *_ = box_of(chip(page, "E"))  # a chip is dragged where it is
    finger.drag((x + 10, y + 10), (x + 20, y), point(tier(page, 4)))
    expect(page.locator(".order-line")).to_have_text("B > A = C > D = E")
    assert sent_tiers(project, page, account_id) == [["a2"], ["a1", "a3"], ["a4", "a5"]]


def test_a_screen_reader_can_rank_with_radios_and_is_told(project: Site, ranking) -> None:
    page, account_id = ranking()
    for letter, number in zip("ABCDE", (1, 1, 2, 3, 4), strict=True):
        group = page.get_by_role("radiogroup", name=f"Tier of response {letter}")
        group.get_by_role("radio", name=f"Tier {number}").check(force=True)
        expect(page.locator("#announcer")).to_contain_text(f"Response {letter} in tier {number}")
    name = "Response A, tier 1, tied with B. Go to it."
    expect(
        page.get_by_role("list", name="Ranking, best first").get_by_role("button", name=name)
    ).to_be_visible()
    assert sent_tiers(project, page, account_id)[0] == ["a1", "a2"]


@pytest.mark.parametrize(
    ("button", "outcome"), [("Unsure", "unsure"), ("Cannot rank", "cannot_rank")]
)
def test_unsure_and_cannot_rank_are_answers(project: Site, ranking, button, outcome) -> None:
    page, account_id = ranking()
    page.get_by_role("button", name=button).click()
    page.get_by_label("Why?").fill("They are about different things.")
    page.get_by_role("dialog").get_by_role("button", name="Send").click()
    expect(page.locator(".toast")).to_contain_text("Sent.")
    (row,) = project.sent(account_id)
    body = json.loads(row["body"])
    assert body["outcome"] == outcome
    assert body["note"] == "They are about different things."


def test_flags_and_notes_are_stored_as_answered(project: Site, open_page) -> None:
    name = next(NAMES)
    account_id = project.account(name)
    page = open_page(project, name)
    page.locator(".answer.alone").wait_for()
    for key in "6hch":  # h twice: on and off again
        page.keyboard.press(key)
    page.keyboard.press("n")
    page.keyboard.type("fine: 7 f u x")  # keys do nothing while one types
    page.keyboard.press("Escape")
    page.keyboard.press("u")  # takes back the second h
    page.get_by_role("button", name="Unsure").wait_for(state="detached")
    page.locator(".step").last.click()
    page.get_by_role("button", name="Unsure").click()
    page.get_by_role("dialog").get_by_role("button", name="Send").click()
    expect(page.locator(".toast")).to_contain_text("Sent.")
    (row,) = project.sent(account_id)
    rating = json.loads(row["body"])["ratings"]["a1"]
    assert rating["likert"] == 6
    assert rating["note"] == "fine: 7 f u x"
    assert [flag for flag, said in rating["flags"].items() if said] == [
        "hallucination",
        "satisfies_constraint",
    ]
    assert len(rating["flags"]) == 11


def test_two_answers_are_compared_by_words(ranking) -> None:
    page, _ = ranking()
    texts = [page.locator(f"[data-answer=a{i}] .prose").text_content() for i in (1, 2)]
    for key in "avbv":
        page.keyboard.press(key)
    dialog = page.get_by_role("dialog", name="Responses A and B")
    assert dialog.locator("section .prose").all_text_contents() == texts
    assert dialog.locator("del").count() + dialog.locator("ins").count() > 0
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_no_response_of_the_server_says_which_model_wrote(project: Site, open_page) -> None:
    name = next(NAMES)
    project.account(name)
    page = open_page(project, name)
    page.locator(".answer.alone").wait_for()
    texts: dict[str, str] = {}

    def keep(route) -> None:
        reply = route.fetch()
        texts[route.request.url] = reply.text()
        route.fulfill(response=reply)

    page.route("**/api/**", keep)
    page.goto("/work")  # asks for the next task as well as for this one
    page.locator(".answer.alone").wait_for()
    page.wait_for_load_state("networkidle")
    page.reload()
    page.locator(".answer.alone").wait_for()
    page.wait_for_load_state("networkidle")
    page.unroute_all(behavior="wait")
    texts["page"] = page.content()
    for path in ("/api/next", "/api/assignments/", "/api/day"):
        assert any(path in url for url in texts), path
    assert not any(MODEL in text for text in texts.values())
    assert not any("-r0" in text for text in texts.values())  # nor the responses' own ids
