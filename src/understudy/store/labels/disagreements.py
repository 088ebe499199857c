"""Items on which labelers disagree, and the owner's decisions about them."""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, Select, func, select

from understudy.store.audit import append
from understudy.store.engine import reading, writing
from understudy.store.labeling_tables import (
    accounts,
    adjudications,
    assignments,
    gold_items,
    items,
    submissions,
)
from understudy.store.queue.items import locked_item
from understudy.store.repository import Store
from understudy.store.rows import packed
from understudy.store.tables import prompts, responses

Tiers = tuple[tuple[str, ...], ...]
"""Response ids, best tier first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contested:
    """One item with what its labelers sent."""

    item: RowMapping
    """The item's columns, its prompt's `prompt_body`, `use_case`."""
    opinions: tuple[RowMapping, ...]
    """account_id, outcome, note, shown and the body sent, in an arbitrary order."""
    decision: RowMapping | None
    """The last adjudication with the account's `name`."""


def versions(store: Store) -> dict[str, tuple[Any, ...]]:
    """Ranking items with several submissions, or with one without a ranking -> a value that changes
    with every submission and decision about the item."""
    sent = (
        select(items.c.id, items.c.num_done, items.c.wanted)
        .add_columns(func.count(), func.max(submissions.c.created_at))
        .join_from(items, assignments, assignments.c.item_id == items.c.id)
        .join(submissions, submissions.c.id == assignments.c.submission_id)
        .where(_TO_LOOK_AT, assignments.c.state == "done", assignments.c.stage == "work")
        .group_by(items.c.id, items.c.num_done, items.c.wanted)
    )
    decided = select(
        adjudications.c.item_id, func.count(), func.max(adjudications.c.created_at)
    ).group_by(adjudications.c.item_id)
    with reading(store.engine) as connection:
        decisions = {row[0]: tuple(row[1:]) for row in connection.execute(decided)}
        found = connection.execute(sent)
        return {row[0]: (*row[1:], *decisions.get(row[0], ())) for row in found}


def contested(store: Store, item_ids: Sequence[str]) -> list[Contested]:
    """Those of these items that have several submissions, or one without a ranking."""
    whole = _items_to_rank().where(items.c.id.in_(item_ids))
    answers = _opinions().where(assignments.c.item_id.in_(item_ids))
    decided = (
        select(adjudications, accounts.c.name)
        .join(accounts)
        .where(adjudications.c.item_id.in_(item_ids))
        .order_by(adjudications.c.created_at, adjudications.c.id)
    )
    with reading(store.engine) as connection:
        found = list(connection.execute(whole).mappings())
        opinions: dict[str, list[RowMapping]] = {}
        for row in connection.execute(answers).mappings():
            opinions.setdefault(row["item_id"], []).append(row)
        decisions = {row["item_id"]: row for row in connection.execute(decided).mappings()}
    return [
        Contested(
            item=row,
            opinions=tuple(opinions.get(row["id"], ())),
            decision=decisions.get(row["id"]),
        )
        for row in found
    ]


_UNSURE = (
    select(assignments.c.id)
    .where(
        assignments.c.item_id == items.c.id,
        assignments.c.stage == "work",
        assignments.c.outcome.in_(("cannot_rank", "unsure")),
    )
    .correlate(items)
    .exists()
)
_TO_LOOK_AT = (items.c.kind == "rank") & ((items.c.num_done > 1) | _UNSURE)


def _items_to_rank() -> Select[Any]:
    return (
        select(items, prompts.c.body.label("prompt_body"), prompts.c.use_case)
        .join(prompts, prompts.c.id == items.c.prompt_id)
        .where(_TO_LOOK_AT)
        .order_by(items.c.id)
    )


def _opinions() -> Select[Any]:
    return (
        select(
            assignments.c.id,
            assignments.c.item_id,
            assignments.c.account_id,
            assignments.c.outcome,
            assignments.c.note,
            assignments.c.shown,
            submissions.c.body,
        )
        .join(submissions, submissions.c.id == assignments.c.submission_id)
        .join(items, items.c.id == assignments.c.item_id)
        .where(items.c.kind == "rank", assignments.c.state == "done", assignments.c.stage == "work")
        .order_by(assignments.c.id)  # ids are random, so the order reveals nothing
    )


def decided_truths(store: Store) -> list[tuple[str, Tiers]]:
    """Prompts with a decided ranking or a researcher's key of a gold item."""
    decided = (
        select(items.c.prompt_id, adjudications.c.body)
        .join(items, items.c.id == adjudications.c.item_id)
        .order_by(adjudications.c.created_at, adjudications.c.id)
    )
    keys = select(items.c.prompt_id, gold_items.c.answer).join(
        items, items.c.id == gold_items.c.item_id
    )
    found: list[tuple[str, Tiers]] = []
    with reading(store.engine) as connection:
        for query in (keys, decided):
            for prompt_id, body in connection.execute(query):
                tiers = json.loads(body).get("tiers") or []
                if tiers and prompt_id:
                    found.append((prompt_id, tuple(tuple(tier) for tier in tiers)))
    return found


def adjudicate(
    store: Store, item_id: str, account_id: str, decision: Mapping[str, Any], *, at: str
) -> None:
    """Decide a disagreement; `decision["verdict"]` is ranked, cannot_rank, more_labels, set_aside.

    more_labels asks one more labeler, set_aside takes the item out of the queue; the others close
    it. LookupError if there is no such item.
    """
    with writing(store.engine) as connection:
        item = locked_item(connection, item_id)
        row = {
            "id": f"adj-{secrets.token_hex(8)}",
            "item_id": item_id,
            "account_id": account_id,
            "body": packed(dict(decision)),
            "created_at": at,
        }
        connection.execute(adjudications.insert(), row)
        verdict = decision["verdict"]
        if item["pool"] != "gold":
            change = _changed_by(verdict, item)
            connection.execute(items.update().where(items.c.id == item_id).values(change))
        action, body = "disagreement.decided", {"verdict": verdict}
        append(connection, at=at, account_id=account_id, action=action, object=item_id, body=body)


def _changed_by(verdict: str, item: RowMapping) -> dict[str, Any]:
    if verdict == "more_labels":
        wanted = max(item["wanted"], item["num_done"] + 1)
        return {"wanted": wanted, "max_wanted": max(item["max_wanted"], wanted), "state": "open"}
    return {"state": "set_aside" if verdict == "set_aside" else "closed"}


def texts_of(store: Store, response_ids: Sequence[str]) -> dict[str, str]:
    """Response id -> text."""
    query = select(responses.c.id, responses.c.response)
    with reading(store.engine) as connection:
        rows = connection.execute(query.where(responses.c.id.in_(list(response_ids))))
        return {row.id: row.response for row in rows}
