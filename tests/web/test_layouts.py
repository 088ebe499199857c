"""Keys go by their place on the keyboard, whatever a layout prints there."""

import pytest
from playwright.sync_api import expect
from tests.web.site import TIDES, Site, answers, prompt

LAYOUTS = {
    # name: what the places of 1, N, X and Z print
    "azerty": {"Digit1": "&", "Digit5": "(", "KeyN": "n", "KeyZ": "w"},
    "qwertz": {"Digit1": "1", "Digit5": "5", "KeyN": "n", "KeyZ": "y"},
    "cyrillic": {"Digit1": "1", "Digit5": "5", "KeyN": "т", "KeyZ": "я"},
    "greek": {"Digit1": "1", "Digit5": "5", "KeyN": "\u03bd", "KeyZ": "\u03b6"},
    "arabic": {"Digit1": "\u0661", "Digit5": "\u0665", "KeyN": "ى", "KeyZ": "ئ"},
    "ime": {"Digit1": "Process", "Digit5": "Process", "KeyN": "Process", "KeyZ": "Process"},
}
PRESS = """([code, key, composing]) => document.activeElement.dispatchEvent(new KeyboardEvent(
  "keydown", { code, key, isComposing: composing, bubbles: true, cancelable: true }))"""


@pytest.fixture(scope="module")
def project(site: Site) -> Site:
    prompts = [prompt(f"k{i}", f"Why are there {i} keyboards?") for i in range(12)]
    site.add(prompts, [one for to in prompts for one in answers(to, TIDES[:2])])
    site.plan("rank")
    return site


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_task_is_done_by_keys_in_every_layout(project: Site, open_page, layout: str) -> None:
    project.account(f"Typist {layout}")
    page = open_page(project, f"Typist {layout}")
    keys = LAYOUTS[layout]

    def press(code: str, composing: bool = False) -> None:
        page.evaluate(PRESS, [code, keys[code], composing])

    answer = page.locator(".answer.alone")
    answer.wait_for()
    press("Digit5", composing=True)  # belongs to the input method
    expect(page.get_by_role("radio", name="5", exact=True)).not_to_be_checked()
    press("Digit5")
    expect(page.get_by_role("radio", name="5", exact=True)).to_be_checked()
    press("Digit1")
    expect(page.get_by_role("radio", name="1", exact=True)).to_be_checked()
    press("KeyN")
    expect(page.locator("textarea:focus")).to_have_count(1)
    page.keyboard.press("Escape")
    if layout in ("cyrillic", "greek"):
        expect(page.locator("kbd[data-key='n']").first).to_have_text(keys["KeyN"].upper())


CHORDS = {
    # layout: (code, key) of Ctrl+Z and of Ctrl+Y
    "qwerty": (("KeyZ", "z"), ("KeyY", "y")),
    "qwertz": (("KeyY", "z"), ("KeyZ", "y")),
    "azerty": (("KeyW", "z"), ("KeyY", "y")),
    "cyrillic": (("KeyZ", "я"), ("KeyY", "н")),
    "shift": (("KeyZ", "z"), ("KeyZ", "Z")),
}


@pytest.mark.parametrize("layout", CHORDS)
def test_undo_and_redo_by_the_chords_of_other_programs(project: Site, open_page, layout) -> None:
    project.account(f"Undoer {layout}")
    page = open_page(project, f"Undoer {layout}")

    def chord(code: str, key: str) -> None:
        held = {"ctrlKey": True, "shiftKey": key == "Z", "bubbles": True, "cancelable": True}
        event = {"code": code, "key": key, **held}
        press = "event => document.activeElement.dispatchEvent(new KeyboardEvent('keydown', event))"
        page.evaluate(press, event)

    page.locator(".answer.alone").wait_for()
    page.keyboard.press("3")
    page.get_by_text("5", exact=True).click()  # by mouse: the radio button has the focus
    undo, redo = CHORDS[layout]
    chord(*undo)
    expect(page.get_by_role("radio", name="3", exact=True)).to_be_checked()
    chord(*redo)
    expect(page.get_by_role("radio", name="5", exact=True)).to_be_checked()
