"""The store is lost while somebody works: one line says so, nothing is lost, it is sent once.

SQLite's file may grow no further, as on a full disk (the limit is the kernel's, on the server's
process); PostgreSQL is stopped and started again.
"""

import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import expect
from tests.postgres import Server, program
from tests.web.conftest import saved
from tests.web.site import TIDES, Site, answers, make_site, prompt, site_of

from understudy.commands.new import NewConfig, new_project

TEXT = "The moon pulls on the sea."


@dataclass
class Lossy:
    """A site whose store can be taken away, and given back."""

    site: Site
    lose: Callable[[], None]
    restore: Callable[[], None]


def on(everyday: str) -> pytest.MarkDecorator:
    """Both kinds of store, of which this one is in the everyday suite."""
    values = [
        pytest.param(kind, marks=() if kind == everyday else pytest.mark.slow)
        for kind in ("sqlite", "postgresql")
    ]
    return pytest.mark.parametrize("project", values, indirect=True, scope="module")


@pytest.fixture(scope="module")
def project(request, tmp_path_factory) -> Iterator[Lossy]:
    """A running server with something to demonstrate and to rank."""
    folder = tmp_path_factory.mktemp("lost")
    make = {"sqlite": on_a_full_disk, "postgresql": on_a_stopped_server}[request.param]
    yield from make(folder)


def on_a_full_disk(folder: Path) -> Iterator[Lossy]:
    site = make_site(folder)
    fill(site)

    def limit(soft: int) -> None:
        assert site.process is not None
        resource.prlimit(site.process.pid, resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))

    yield Lossy(site, lambda: limit(0), lambda: limit(resource.RLIM_INFINITY))
    site.stop()


def on_a_stopped_server(folder: Path) -> Iterator[Lossy]:
    if program("initdb") is None:
        pytest.skip("PostgreSQL is not installed (Debian package postgresql)")
    server = Server()
    server.execute("CREATE DATABASE work")
    new_project(NewConfig(folder=folder / "project", store=server.host.format("work")))
    site = site_of(folder / "project")
    fill(site)
    yield Lossy(site, server.halt, server.start)
    site.stop()
    site.store.engine.dispose()
    server.stop()


def fill(site: Site) -> None:
    site.start()
    ranked = [prompt(f"r{i}", f"And {i} moons?") for i in range(8)]  # who signs in takes one
    site.add([prompt(f"d{i}", f"Why are there {i} tides?") for i in range(4)])
    site.add(ranked, [one for to in ranked for one in answers(to, TIDES[:3])])
    site.plan("demonstrate", "rank")


@pytest.mark.thorough
@on("postgresql")
def test_a_text_is_kept_and_sent_once_when_the_store_is_back(project: Lossy, open_page) -> None:
    site = project.site
    account_id = site.account("Ann")
    page = open_page(site, "Ann")
    page.goto("/work?kind=demonstrate")
    editor = page.get_by_label("Your response")
    editor.fill("The moon")
    saved(page)
    project.lose()
    editor.fill(TEXT)
    expect(page.locator("#save-state")).to_have_text("Kept in this browser")
    page.keyboard.press("Control+Enter")
    line = page.locator(".waiting p")
    expect(line).to_have_text(
        "Your answer is kept in this browser. The store is unavailable; nothing was saved. "
        "It will be sent as soon as possible."
    )
    assert page.locator("[role=alert]:visible").all_text_contents() in ([], [""])  # one line
    page.get_by_role("button", name="Try now").click()  # in vain
    expect(line).to_have_count(1)
    project.restore()
    assert site.sent(account_id) == []
    page.get_by_role("button", name="Try now").click()
    expect(page.locator(".toast")).to_contain_text("Sent.")
    assert [one["body"].count(TEXT) for one in site.sent(account_id)] == [1]
    assert not page.evaluate("Object.keys(localStorage).filter((name) => /outbox/.test(name))")


@on("sqlite")
def test_a_ranking_whose_page_was_closed_meanwhile_is_sent_once(project: Lossy, open_page) -> None:
    site = project.site
    account_id = site.account("Ben")
    page = open_page(site, "Ben")
    page.goto("/work?kind=rank")
    for place in range(3):
        expect(page.locator(".answer.alone h2")).to_have_text(f"Response {'ABC'[place]}")
        page.keyboard.press(str(7 - place))
        page.keyboard.press("Enter")
    for stroke in "a1b2c2":
        page.keyboard.press(stroke)
    saved(page)
    project.lose()
    page.keyboard.press("Enter")
    page.locator(".waiting").wait_for()
    page.close()
    project.restore()
    again = page.context.new_page()
    again.goto("/work?kind=rank")
    expect(again.locator(".toast")).to_contain_text("An answer kept in this browser has been sent.")
    (sent,) = site.sent(account_id)
    assert '"tiers":[["a1"],["a2","a3"]]' in sent["body"]
    again.reload()
    again.locator(".desk").wait_for()
    assert len(site.sent(account_id)) == 1


@on("sqlite")
def test_a_page_that_is_opened_meanwhile_says_so_and_opens_later(project: Lossy, open_page) -> None:
    project.site.account("Cat")
    page = open_page(project.site, "Cat")
    project.lose()
    page.goto("/work?kind=demonstrate")
    main = page.get_by_role("main")
    expect(main).to_contain_text("The store is unavailable; nothing was saved.")
    project.restore()
    page.reload()
    page.locator(".desk").wait_for()
