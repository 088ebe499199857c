"""Items of the queue as the owner sees them: their numbers, and which are live or set aside."""

from typing import Any

from sqlalchemy import Connection, RowMapping, and_, exists, func, or_, select

from understudy.records.written import WRITER
from understudy.store.audit import append
from understudy.store.engine import reading, rows_of, writing
from understudy.store.labeling_tables import accounts, assignments, items
from understudy.store.queue.leases import PURPOSES
from understudy.store.repository import Store
from understudy.store.tables import labels, prompts


def queue_rows(store: Store) -> list[RowMapping]:
    """kind, purpose, pool, state, and the numbers of items, labels done and wanted, leases,
    skips."""
    keys = (items.c.kind, items.c.purpose, items.c.pool, items.c.state)
    query = (
        select(
            *keys,
            func.count().label("number"),
            func.sum(items.c.num_done).label("labels_done"),
            func.sum(items.c.wanted).label("labels_wanted"),
            func.sum(items.c.num_live).label("live"),
            func.sum(items.c.num_skips).label("skips"),
        )
        .group_by(*keys)
        .order_by(*keys)
    )
    return rows_of(store.engine, query)


def set_aside(store: Store, limit: int = 100) -> list[tuple[RowMapping, dict[str, int]]]:
    """Items that many skipped, with the reasons given, then closed ones."""
    query = (
        select(items, prompts.c.body.label("prompt_body"))
        .outerjoin(prompts, prompts.c.id == items.c.prompt_id)
        .where(items.c.state.in_(("set_aside", "closed")), items.c.pool != "gold")
        .order_by(items.c.state.desc(), items.c.num_skips.desc(), items.c.id)
        .limit(limit)
    )
    with reading(store.engine) as connection:
        rows = list(connection.execute(query).mappings())
        reasons = (
            select(assignments.c.item_id, assignments.c.reason, func.count())
            .where(
                assignments.c.item_id.in_([row["id"] for row in rows]),
                assignments.c.state == "skipped",
            )
            .group_by(assignments.c.item_id, assignments.c.reason)
        )
        given: dict[str, dict[str, int]] = {}
        for item_id, reason, number in connection.execute(reasons):
            given.setdefault(item_id, {})[reason or "other"] = number
    return [(row, given.get(row["id"], {})) for row in rows]


def live(store: Store, at: str) -> list[RowMapping]:
    """Live tasks: name, kind and the lease's times."""
    query = (
        select(
            accounts.c.name,
            items.c.kind,
            assignments.c.leased_at,
            assignments.c.beat_at,
            assignments.c.expires_at,
        )
        .join_from(assignments, items)
        .join(accounts, accounts.c.id == assignments.c.account_id)
        .where(assignments.c.state == "leased", assignments.c.expires_at > at)
        .order_by(accounts.c.name)
    )
    return rows_of(store.engine, query)


def set_item_state(store: Store, item_id: str, state: str, *, by: str, at: str) -> None:
    """Reopen an item, with its skips reset, or close it. LookupError if there is no such item."""
    with writing(store.engine) as connection:
        item = locked_item(connection, item_id)
        values: dict[str, Any] = {"state": state}
        if state == "open":
            values["num_skips"] = 0
            values["wanted"] = max(item["wanted"], item["num_done"] + 1)
        connection.execute(items.update().where(items.c.id == item_id).values(values))
        action = "item.reopened" if state == "open" else "item.closed"
        append(connection, at=at, account_id=by, action=action, object=item_id)


def locked_item(connection: Connection, item_id: str) -> RowMapping:
    query = select(items).where(items.c.id == item_id)
    if connection.dialect.name != "sqlite":
        query = query.with_for_update()
    row = connection.execute(query).mappings().first()
    if row is None:
        raise LookupError(item_id)
    return row


def nobody_left(store: Store) -> dict[str, int]:
    """Purpose -> number of open items that need more labelers than there are."""
    query = select(items.c.purpose, func.count()).where(NOBODY_LEFT).group_by(items.c.purpose)
    with reading(store.engine) as connection:
        return {row[0]: int(row[1]) for row in connection.execute(query)}


def end_waiting(store: Store, *, by: str, at: str) -> tuple[int, int]:
    """End the items that nobody is left to label: (items done with the labels that they have, items
    set aside for the owner because they have none)."""
    with writing(store.engine) as connection:
        done = connection.execute(
            items.update()
            .where(NOBODY_LEFT, items.c.num_done > 0)
            .values(wanted=items.c.num_done, state="done")
        ).rowcount
        aside = connection.execute(
            items.update().where(NOBODY_LEFT).values(state="set_aside")
        ).rowcount
        body = {"done": done, "set_aside": aside}
        append(connection, at=at, account_id=by, action="queue.ended", body=body)
    return done, aside


def _nobody_left() -> Any:
    """An open item without a lease that no active account can still get."""
    wrote = (
        (labels.c.prompt_id == items.c.prompt_id)
        & (labels.c.kind == "demonstration")
        & (labels.c.labeler_id == accounts.c.id)
    )
    asked = (prompts.c.id == items.c.prompt_id) & (prompts.c.user_id == WRITER + accounts.c.id)
    had = (assignments.c.item_id == items.c.id) & (assignments.c.account_id == accounts.c.id)
    may = or_(
        *(
            (accounts.c.role == role) & items.c.purpose.in_(purposes)
            for role, purposes in PURPOSES.items()
        )
    )
    somebody = exists().where(
        accounts.c.stage == "active",
        accounts.c.disabled_at.is_(None),
        may,
        ~exists().where(had).correlate(items, accounts),
        or_(items.c.kind != "rank", ~exists().where(wrote).correlate(items, accounts)),
        ~exists().where(asked).correlate(items, accounts),
    )
    return and_(
        items.c.state == "open",
        items.c.pool != "gold",
        items.c.num_live == 0,
        items.c.num_done < items.c.wanted,
        ~somebody.correlate(items),
    )


NOBODY_LEFT = _nobody_left()
