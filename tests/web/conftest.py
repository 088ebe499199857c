"""The browser, and pages that fail a test when anything goes wrong in them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.chromium import launch
from tests.web.site import PASSWORD, Site, make_site

TIMEOUT_MS = 60_000


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """One for this folder's tests; its event loop would stand in the way of others."""
    with launch() as browser:
        from playwright.sync_api import expect

        expect.set_options(timeout=TIMEOUT_MS)
        yield browser


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An empty project with a running server."""
    site = make_site(tmp_path_factory.mktemp("site"))
    site.start()
    yield site
    site.stop()


Open = Callable[..., Any]


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    """Make pages for one test, as `opening` does."""
    with opening(browser) as make:
        yield make


@contextmanager
def opening(browser: Any) -> Iterator[Open]:
    """Make pages in browsers of their own: `make(site, "Ann", width=360)` is signed in as Ann,
    without the form and its slow hash, and at the page where Ann's account belongs.

    Dialogs, errors of scripts and whatever the content policy refuses fail the test.
    """
    contexts, complaints = [], []

    def make(site: Site, name: str | None = None, *, width: int = 1280, **options: Any) -> Any:
        height = options.pop("height", 900 if width > 500 else 740)
        context = browser.new_context(
            viewport={"width": width, "height": height}, base_url=site.url, **options
        )
        contexts.append(context)
        context.set_default_timeout(TIMEOUT_MS)
        context.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        context.on("console", lambda message: complaints.extend(_policy(message)))
        page = context.new_page()
        if name is not None:
            context.add_cookies(
                [{"name": "understudy", "value": site.session(name), "url": site.url}]
            )
            page.goto("/")
        return page

    yield make
    for context in contexts:
        context.close()
    assert not complaints


def _policy(message: Any) -> list[str]:
    return [message.text] if "Content Security Policy" in message.text else []


def sign_in(page: Any, name: str) -> None:
    """By the form."""
    page.goto("/sign-in")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/sign-in" not in url)


def saved(page: Any) -> None:
    """Wait until the page says that all is saved."""
    page.locator("#save-state[data-state=saved]").wait_for()
