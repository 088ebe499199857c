"""The owner's pages and the routes that they call."""

from collections.abc import Callable

from understudy.labeling import (
    owner_agreement,
    owner_disagreements,
    owner_exports,
    owner_gold,
    owner_labelers,
    owner_queue,
    owner_rubric,
)
from understudy.web.access import Access, Call, Page, Route

PAGES = {
    "/owner": "owner_home",
    "/owner/queue": "owner_queue",
    "/owner/agreement": "owner_agreement",
    "/owner/disagreements": "owner_disagreements",
    "/owner/disagreements/{item_id}": "owner_disagreement",
    "/owner/labelers": "owner_labelers",
    "/owner/labelers/{account_id}": "owner_labeler",
    "/owner/gold": "owner_gold",
    "/owner/rubric": "owner_rubric",
    "/owner/audit": "owner_audit",
    "/owner/exports": "owner_exports",
}


def _page(template: str) -> Callable[[Call], Page]:
    return lambda call: Page(f"{template}.html")


ROUTES: tuple[Route, ...] = (
    *(Route("GET", path, Access.OWNER, _page(name)) for path, name in PAGES.items()),
    *owner_queue.ROUTES,
    *owner_agreement.ROUTES,
    *owner_disagreements.ROUTES,
    *owner_labelers.ROUTES,
    *owner_gold.ROUTES,
    *owner_rubric.ROUTES,
    *owner_exports.ROUTES,
)
