"""Who has read which prompt: the access log.

An assignment records that a labeler was given an item; it is deleted only with its prompt. Any
other page that shows a prompt, or its beginning, first writes a row here. Rows hold ids and times,
no text, and go with the prompt when its user is forgotten.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Select, case, literal, select, union_all

from understudy.store.adding import insert_new
from understudy.store.engine import glancing, writing
from understudy.store.labeling_tables import accounts, assignments, items, prompt_views
from understudy.store.repository import Store


@dataclass(frozen=True, slots=True)
class Seen:
    """One view of a prompt: `Seen("2026-01-01T09:00", "l1", "Ann", "p1", "task")`."""

    at: str
    """The time; for a task, when it was given."""
    account_id: str
    """The account."""
    name: str
    """The account's name."""
    prompt_id: str
    """The prompt."""
    page: str
    """task, practice or screening, or the page's name."""


def note_views(
    store: Store, account_id: str, prompt_ids: Iterable[str | None], page: str, at: str
) -> None:
    """Record that a page shows these prompts to an account (ignores None)."""
    shown = {prompt_id for prompt_id in prompt_ids if prompt_id is not None}
    rows = [
        {"prompt_id": prompt_id, "account_id": account_id, "page": page, "at": at}
        for prompt_id in sorted(shown)
    ]
    if rows:
        with writing(store.engine) as connection:
            insert_new(connection, prompt_views, rows)


def views(
    store: Store, *, prompt_id: str | None = None, account_id: str | None = None
) -> list[Seen]:
    """Views of a prompt, by an account, or both, oldest first."""
    given = _given()
    other = select(
        prompt_views.c.at, prompt_views.c.account_id, prompt_views.c.prompt_id, prompt_views.c.page
    )
    both = union_all(given, other).subquery()
    query = select(
        both.c.at, both.c.account_id, accounts.c.name, both.c.prompt_id, both.c.page
    ).join_from(both, accounts, accounts.c.id == both.c.account_id)
    if prompt_id is not None:
        query = query.where(both.c.prompt_id == prompt_id)
    if account_id is not None:
        query = query.where(both.c.account_id == account_id)
    with glancing(store.engine) as connection:
        rows = connection.execute(query.order_by(both.c.at, both.c.account_id, both.c.prompt_id))
        return [Seen(*row) for row in rows]


def _given() -> Select[tuple[str, str, str, str]]:
    """Items that were given to somebody, whatever the outcome."""
    page = case((assignments.c.stage == "work", literal("task")), else_=assignments.c.stage)
    return (
        select(
            assignments.c.leased_at.label("at"),
            assignments.c.account_id,
            items.c.prompt_id,
            page.label("page"),
        )
        .join_from(assignments, items)
        .where(items.c.prompt_id.is_not(None))
    )
