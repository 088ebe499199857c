"""Responses added after their prompt was queued: ranked with the earlier ones, or apart.

An item's responses are frozen once somebody has begun it, so that all labels of an item compare the
same texts. Later responses therefore get their own item, a further `round` of the same prompt; only
an item that nobody has begun takes them in.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, exists, select, update

from understudy.store.adding import BATCH
from understudy.store.engine import reading, writing
from understudy.store.labeling_tables import assignments, item_responses, items
from understudy.store.queue.plan import NewItem, Overlap, item_row
from understudy.store.repository import Store
from understudy.store.tables import prompts, responses

How = Literal["together", "apart", "leave"]
HOW: tuple[How, ...] = ("together", "apart", "leave")
SETTING = "new_responses"
"""Name of the project's setting."""


@dataclass(frozen=True, slots=True)
class Late:
    """An item's prompt and the responses added after it was planned."""

    item_id: str
    prompt_id: str
    purpose: str
    round: int
    old: tuple[str, ...]
    """Response ids of the item, in order."""
    new: tuple[str, ...]
    """Response ids whose texts no item of this prompt and purpose has; oldest first."""


@dataclass(frozen=True, slots=True)
class Queued:
    """What was done: `Queued(extended=2, added=5, alone=1)`."""

    extended: int = 0
    """Items that nobody had begun and that now include the new responses."""
    added: int = 0
    """New items for a further round."""
    alone: int = 0
    """Prompts with a single new response: one cannot be ranked apart."""


def late_responses(store: Store) -> list[Late]:
    """For the latest round of each queued prompt: the responses added later.

    Leaves out prompts whose item is gold (its key ranks the responses that it has), closed, or set
    aside for the owner.
    """
    with reading(store.engine) as connection:
        fresh: dict[str, tuple[Any, dict[str, str]]] = {}
        for row in connection.execute(_LATE):
            found = fresh.setdefault(row.item_id, (row, {}))[1]
            found.setdefault(row.text.strip(), row.response_id)
        old, known = _shown(connection, list(fresh))
    late = []
    for item_id, (row, texts) in fresh.items():
        new = tuple(name for text, name in texts.items() if text not in known[item_id])
        if new:
            given = (item_id, row.prompt_id, row.purpose, row.round, tuple(old[item_id]), new)
            late.append(Late(*given))
    return late


def queue_late(
    store: Store, late: Iterable[Late], *, how: How, most: int, overlap: Overlap, seed: int, at: str
) -> Queued:
    """Queue the new responses `together` with the earlier ones or `apart`, at most `most` an item.

    With `together`, new responses take precedence if there are too many, and an unfinished earlier
    round keeps its labels but asks nobody else.
    """
    if how == "leave":
        return Queued()
    rng = random.Random(f"new responses/{seed}/{at}")
    extended = added = alone = 0
    with writing(store.engine) as connection:
        for place, one in enumerate(late):
            new = one.new[:most]
            shown = (*one.old[: most - len(new)], *new) if how == "together" else new
            if len(shown) < 2:
                alone += 1
                continue
            row = connection.execute(_LOCK, {"item": one.item_id}).mappings().one()
            if row["state"] not in ("open", "done") or row["later"]:
                continue
            if how == "together" and not row["begun"]:
                _extend(connection, one, shown, at)
                extended += 1
                continue
            if how == "together" and row["state"] == "open":
                _ask_nobody_else(connection, row)
            item = NewItem("rank", one.prompt_id, one.purpose, shown)
            made = {**item_row(item, overlap, rng, place, at), "round": one.round + 1}
            connection.execute(items.insert(), made)
            _insert_shown(connection, made["id"], shown)
            added += 1
    return Queued(extended, added, alone)


def _extend(connection: Connection, late: Late, shown: tuple[str, ...], at: str) -> None:
    mine = item_responses.c.item_id == late.item_id
    connection.execute(item_responses.delete().where(mine))
    _insert_shown(connection, late.item_id, shown)
    planned = update(items).where(items.c.id == late.item_id)
    connection.execute(planned.values(created_at=at))


def _insert_shown(connection: Connection, item_id: str, shown: tuple[str, ...]) -> None:
    rows = [
        {"item_id": item_id, "place": place, "response_id": name}
        for place, name in enumerate(shown)
    ]
    connection.execute(item_responses.insert(), rows)


def _ask_nobody_else(connection: Connection, row: Any) -> None:
    """Let current labelers finish; then the item is done with the labels that it has."""
    wanted = row["num_done"] + row["num_live"]
    values = {"wanted": wanted, "max_wanted": wanted}
    state = "open" if row["num_live"] else "done"
    connection.execute(update(items).where(items.c.id == row["id"]).values(**values, state=state))


def _shown(
    connection: Connection, item_ids: list[str]
) -> tuple[dict[str, list[str]], dict[str, set[str]]]:
    """Item -> its response ids, and item -> the texts of all rounds of its prompt and purpose."""
    old: dict[str, list[str]] = {name: [] for name in item_ids}
    known: dict[str, set[str]] = {name: set() for name in item_ids}
    this, other = items.alias("this"), items.alias("other")
    query = (
        select(this.c.id, other.c.id.label("other"), responses.c.id.label("response"))
        .add_columns(responses.c.response.label("text"))
        .join_from(this, other, _same(this, other))
        .join(item_responses, item_responses.c.item_id == other.c.id)
        .join(responses, responses.c.id == item_responses.c.response_id)
        .order_by(this.c.id, other.c.id, item_responses.c.place)
    )
    for start in range(0, len(item_ids), BATCH):
        some = item_ids[start : start + BATCH]
        for row in connection.execute(query.where(this.c.id.in_(some))):
            known[row.id].add(row.text.strip())
            if row.other == row.id:
                old[row.id].append(row.response)
    return old, known


def _same(one: Any, other: Any) -> ColumnElement[bool]:
    """Items that rank responses to one prompt for one purpose."""
    return and_(
        other.c.kind == "rank",
        other.c.prompt_id == one.c.prompt_id,
        other.c.purpose == one.c.purpose,
    )


_OTHER = items.alias("other")
_LATER = exists().where(_same(items, _OTHER), _OTHER.c.round > items.c.round)
_GOLD = exists().where(_same(items, _OTHER), _OTHER.c.pool == "gold")


def _late() -> Select[Any]:
    return (
        select(items.c.id.label("item_id"), items.c.prompt_id, items.c.purpose, items.c.round)
        .add_columns(responses.c.id.label("response_id"), responses.c.response.label("text"))
        .join_from(items, responses, responses.c.prompt_id == items.c.prompt_id)
        .join(prompts, prompts.c.id == items.c.prompt_id)
        .where(
            items.c.kind == "rank",
            items.c.state.in_(("open", "done")),
            responses.c.created_at > items.c.created_at,
            prompts.c.split.is_not(None),
            ~_LATER.correlate(items),
            ~_GOLD.correlate(items),
        )
        .order_by(items.c.prompt_id, items.c.purpose, responses.c.created_at, responses.c.id)
    )


_LATE = _late()
_LOCK = (
    select(
        items.c.id,
        items.c.state,
        items.c.num_done,
        items.c.num_live,
        exists().where(assignments.c.item_id == items.c.id).correlate(items).label("begun"),
        _LATER.correlate(items).label("later"),
    )
    .where(items.c.id == bindparam("item"))
    .with_for_update(of=items)
)
