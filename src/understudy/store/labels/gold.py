"""Gold items: made from a researcher's answer, mixed into work or used for screening, retired."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, delete, func, select

from understudy.store.audit import append
from understudy.store.engine import reading, rows_of, writing
from understudy.store.labeling_tables import accounts, assignments, gold_items, items, submissions
from understudy.store.queue.items import locked_item
from understudy.store.repository import Store
from understudy.store.rows import packed
from understudy.store.tables import prompts


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldAnswer:
    """A labeler's answer to a gold item in work."""

    item_id: str
    prompt_id: str
    account_id: str
    at: str
    answer: Mapping[str, Any]
    """`tiers` and `ratings` by response id."""
    key: Mapping[str, Any]
    """The researcher's own answer, in the same form."""


def gold_answers(store: Store) -> list[GoldAnswer]:
    """Answers to gold items mixed into work, oldest first, without those by the items' authors."""
    query = (
        select(
            assignments.c.item_id,
            assignments.c.account_id,
            assignments.c.done_at,
            assignments.c.shown,
            items.c.prompt_id,
            gold_items.c.answer,
            submissions.c.body,
        )
        .join_from(assignments, gold_items, gold_items.c.item_id == assignments.c.item_id)
        .join(items, items.c.id == assignments.c.item_id)
        .join(submissions, submissions.c.id == assignments.c.submission_id)
        .where(
            gold_items.c.use == "mixed",
            items.c.kind == "rank",
            assignments.c.state == "done",
            assignments.c.stage == "work",
            func.coalesce(gold_items.c.author_id, "") != assignments.c.account_id,
        )
        .order_by(assignments.c.done_at, assignments.c.id)
    )
    with reading(store.engine) as connection:
        rows = list(connection.execute(query).mappings())
    return [
        GoldAnswer(
            item_id=row["item_id"],
            prompt_id=row["prompt_id"],
            account_id=row["account_id"],
            at=row["done_at"],
            answer=by_response(json.loads(row["body"]), json.loads(row["shown"])),
            key=json.loads(row["answer"]),
        )
        for row in rows
    ]


def by_response(body: Mapping[str, Any], shown: Sequence[str]) -> dict[str, Any]:
    """A submission's body with response ids in place of the page's names."""
    names = {f"a{place}": response_id for place, response_id in enumerate(shown, start=1)}
    return {
        **body,
        "tiers": [[names[name] for name in tier] for tier in body.get("tiers") or []],
        "ratings": {names[name]: one for name, one in (body.get("ratings") or {}).items()},
    }


def gold_list(store: Store) -> list[RowMapping]:
    """Every gold item with its prompt and how many labelers got it, newest first."""
    answered = (
        select(func.count())
        .select_from(assignments)
        .where(assignments.c.item_id == gold_items.c.item_id, assignments.c.state == "done")
        .correlate(gold_items)
        .scalar_subquery()
    )
    query = (
        select(
            gold_items,
            items.c.kind,
            items.c.prompt_id,
            prompts.c.body.label("prompt_body"),
            answered.label("answered"),
        )
        .join(items, items.c.id == gold_items.c.item_id)
        .outerjoin(prompts, prompts.c.id == items.c.prompt_id)
        .order_by(gold_items.c.created_at.desc(), gold_items.c.item_id)
    )
    return rows_of(store.engine, query)


def could_be_gold(store: Store, limit: int = 100) -> list[RowMapping]:
    """Items that a researcher has answered and that are not gold, newest first."""
    is_gold = (
        select(gold_items.c.item_id)
        .where(gold_items.c.item_id == items.c.id, gold_items.c.retired_at.is_(None))
        .exists()
    )
    query = (
        select(
            assignments.c.item_id,
            assignments.c.done_at,
            items.c.kind,
            items.c.prompt_id,
            prompts.c.body.label("prompt_body"),
            accounts.c.name,
        )
        .join_from(assignments, items)
        .join(prompts, prompts.c.id == items.c.prompt_id)
        .join(accounts, accounts.c.id == assignments.c.account_id)
        .where(
            accounts.c.role == "researcher",
            assignments.c.state == "done",
            assignments.c.outcome.in_(("ranked", "demonstrated")),
            ~is_gold,
        )
        .order_by(assignments.c.done_at.desc(), assignments.c.id)
        .limit(limit)
    )
    return rows_of(store.engine, query)


EVERYBODY = 1_000_000
"""How many labels a gold item wants: everybody's."""


def researcher_answer(store: Store, item_id: str) -> tuple[str, dict[str, Any]] | None:
    """(account, answer by response id) of the researcher who last answered an item, or None."""
    query = (
        select(assignments.c.account_id, assignments.c.shown, submissions.c.body)
        .join(accounts, accounts.c.id == assignments.c.account_id)
        .join(submissions, submissions.c.id == assignments.c.submission_id)
        .where(
            assignments.c.item_id == item_id,
            assignments.c.state == "done",
            assignments.c.outcome.in_(("ranked", "demonstrated")),
            accounts.c.role == "researcher",
        )
        .order_by(assignments.c.done_at.desc())
        .limit(1)
    )
    with reading(store.engine) as connection:
        row = connection.execute(query).mappings().first()
    if row is None:
        return None
    sent = by_response(json.loads(row["body"]), json.loads(row["shown"]))
    answer = {"tiers": sent["tiers"], "ratings": sent["ratings"], "text": sent.get("text") or None}
    return row["account_id"], answer


def make_gold(
    store: Store,
    item_id: str,
    *,
    use: str,
    answer: Mapping[str, Any],
    why: str,
    author_id: str,
    by: str,
    at: str,
) -> None:
    """Use an item for practice, for screening or mixed into work; ValueError if it is gold already.

    LookupError if there is no such item. The queue no longer hands it out as ordinary work.
    """
    with writing(store.engine) as connection:
        item = locked_item(connection, item_id)
        if item["kind"] == "write":
            raise ValueError("an item of kind write cannot have a key; choose another item")
        if item["kind"] == "demonstrate" and use == "mixed":
            raise ValueError("a demonstration cannot be scored by itself; use it for screening")
        mine = gold_items.c.item_id == item_id
        old = connection.execute(select(gold_items.c.retired_at).where(mine)).first()
        if old is not None and old.retired_at is None:
            raise ValueError("this item is gold already; retire it first")
        connection.execute(delete(gold_items).where(mine))
        row = {
            "item_id": item_id,
            "use": use,
            "author_id": author_id,
            "answer": packed(dict(answer)),
            "why": why,
            "created_at": at,
        }
        connection.execute(gold_items.insert(), row)
        values = {"pool": "gold", "wanted": EVERYBODY, "max_wanted": EVERYBODY}
        # Practice and screening read gold_items and ignore the item's state.
        values["state"] = "open" if use == "mixed" else "closed"
        connection.execute(items.update().where(items.c.id == item_id).values(values))
        body = {"use": use}
        append(connection, at=at, account_id=by, action="gold.added", object=item_id, body=body)


def retire_gold(store: Store, item_id: str, *, by: str, at: str) -> None:
    """Retire a gold item. LookupError if it is not gold."""
    with writing(store.engine) as connection:
        mine = (gold_items.c.item_id == item_id) & gold_items.c.retired_at.is_(None)
        if not connection.execute(gold_items.update().where(mine).values(retired_at=at)).rowcount:
            raise LookupError(item_id)
        connection.execute(items.update().where(items.c.id == item_id).values(state="closed"))
        append(connection, at=at, account_id=by, action="gold.retired", object=item_id)


def gold_of(store: Store, item_id: str) -> RowMapping | None:
    """The researcher's own answer to an item."""
    with reading(store.engine) as connection:
        query = select(gold_items).where(gold_items.c.item_id == item_id)
        return connection.execute(query).mappings().first()
