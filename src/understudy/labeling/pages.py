"""The pages: shells that fetch their data as JSON."""

from collections.abc import Callable

from understudy.web.access import Access, Call, Page, Redirect, Reply, Route


def home(call: Call) -> Reply:
    """Redirect to the account's page."""
    return Redirect("/sign-in" if call.account is None else call.account.home)


def health(call: Call) -> Reply:
    """Whether the server and the store respond."""
    call.app.version()
    return {"status": "ok"}


def work(call: Call) -> Reply:
    """The one page on which items are worked on."""
    return Page("work.html")


def _page(template: str) -> Callable[[Call], Reply]:
    return lambda call: Page(template)


ROUTES = (
    Route("GET", "/", Access.PUBLIC, home),
    Route("GET", "/health", Access.PUBLIC, health),
    Route("GET", "/sign-in", Access.PUBLIC, _page("sign_in.html")),
    Route("GET", "/invitation", Access.PUBLIC, _page("invitation.html")),
    Route("GET", "/instructions", Access.ACCOUNT, _page("instructions.html")),
    Route("GET", "/waiting", Access.ACCOUNT, _page("waiting.html")),
    Route("GET", "/me", Access.ACCOUNT, _page("me.html")),
    Route("GET", "/work", Access.WORKER, work),
    Route("GET", "/work/{assignment_id}", Access.WORKER, work),
    Route("GET", "/history", Access.WORKER, _page("history.html")),
)
