"""The owner's pages and the routes that they call."""

from collections.abc import Callable

from understudy.labeling.owner import (
    agreement,
    disagreements,
    exports,
    gold,
    labelers,
    queue,
    rubric,
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
    *queue.ROUTES,
    *agreement.ROUTES,
    *disagreements.ROUTES,
    *labelers.ROUTES,
    *gold.ROUTES,
    *rubric.ROUTES,
    *exports.ROUTES,
)
