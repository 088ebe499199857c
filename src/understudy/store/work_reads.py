"""Reads about the work itself: the queue, its pace, live tasks, recent work."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, Select, func, select, true

from understudy.store.engine import reading
from understudy.store.labeling_tables import (
    accounts,
    acknowledgements,
    assignments,
    item_responses,
    items,
    self_descriptions,
    submissions,
    topic_coverage,
    worker_flags,
)
from understudy.store.repository import Store
from understudy.store.tables import prompts, responses

FINISHED = ("done", "skipped")


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
    with reading(store.engine) as connection:
        return list(connection.execute(query).mappings())


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
    with reading(store.engine) as connection:
        return list(connection.execute(query).mappings())


@dataclass(frozen=True, slots=True)
class DayCount:
    """One labeler's work on a day (UTC)."""

    day: str
    account_id: str
    done: int
    skipped: int


def days(store: Store, since: str = "") -> list[DayCount]:
    """Every labeler's work by day."""
    day = func.substr(assignments.c.done_at, 1, 10)
    query = (
        select(day, assignments.c.account_id, assignments.c.state, func.count())
        .where(
            assignments.c.stage == "work",
            assignments.c.state.in_(FINISHED),
            assignments.c.done_at >= since,
        )
        .group_by(day, assignments.c.account_id, assignments.c.state)
    )
    found: dict[tuple[str, str], dict[str, int]] = {}
    with reading(store.engine) as connection:
        for when, account_id, state, number in connection.execute(query):
            found.setdefault((when, account_id), {})[state] = number
    return [
        DayCount(when, account_id, of.get("done", 0), of.get("skipped", 0))
        for (when, account_id), of in sorted(found.items())
    ]


def recent_work(store: Store, account_id: str | None = None, last: int = 120) -> list[RowMapping]:
    """The latest items of every account (or one), oldest first, with what was sent and its
    length."""
    place = func.row_number().over(
        partition_by=assignments.c.account_id,
        order_by=(assignments.c.done_at.desc(), assignments.c.id),
    )
    numbered: Any = (
        select(assignments, place.label("place"))
        .where(
            assignments.c.stage == "work",
            assignments.c.state.in_(FINISHED),
            true() if account_id is None else assignments.c.account_id == account_id,
        )
        .subquery()
    )
    query = (
        select(
            numbered.c.account_id,
            numbered.c.state,
            numbered.c.done_at,
            numbered.c.seconds,
            items.c.kind,
            items.c.prompt_id,
            submissions.c.body,
            _characters().label("characters"),
        )
        .join_from(numbered, items, items.c.id == numbered.c.item_id)
        .outerjoin(submissions, submissions.c.id == numbered.c.submission_id)
        .where(numbered.c.place <= last)
        .order_by(numbered.c.account_id, numbered.c.done_at, numbered.c.id)
    )
    with reading(store.engine) as connection:
        return list(connection.execute(query).mappings())


def _characters() -> Any:
    """Total length of an item's responses, which labelers read before ranking."""
    return (
        select(func.coalesce(func.sum(func.length(responses.c.response)), 0))
        .join_from(item_responses, responses)
        .where(item_responses.c.item_id == items.c.id)
        .correlate(items)
        .scalar_subquery()
    )


def account_rows(store: Store) -> list[RowMapping]:
    """Every account with its numbers of done and skipped items and its last activity."""
    query = (
        select(
            accounts,
            _count_of("done").label("done"),
            _count_of("skipped").label("skipped"),
            select(func.max(assignments.c.beat_at))
            .where(assignments.c.account_id == accounts.c.id)
            .correlate(accounts)
            .scalar_subquery()
            .label("last_at"),
        )
        .order_by(accounts.c.name_key)
        .select_from(accounts)
    )
    with reading(store.engine) as connection:
        return list(connection.execute(query).mappings())


def _count_of(state: str) -> Any:
    return (
        select(func.count())
        .select_from(assignments)
        .where(
            assignments.c.account_id == accounts.c.id,
            assignments.c.stage == "work",
            assignments.c.state == state,
        )
        .correlate(accounts)
        .scalar_subquery()
    )


def work_seconds(store: Store) -> dict[str, list[float]]:
    """Account -> active seconds of each of its items, where known."""
    query = select(assignments.c.account_id, assignments.c.seconds).where(
        assignments.c.stage == "work",
        assignments.c.state == "done",
        assignments.c.seconds.is_not(None),
    )
    found: dict[str, list[float]] = {}
    with reading(store.engine) as connection:
        for account_id, seconds in connection.execute(query):
            found.setdefault(account_id, []).append(float(seconds or 0.0))
    return found


def open_flags(store: Store) -> list[RowMapping]:
    """Flags that are not cleared, with the account's name, newest first."""
    query = (
        select(worker_flags, accounts.c.name)
        .join(accounts, accounts.c.id == worker_flags.c.account_id)
        .where(worker_flags.c.cleared_at.is_(None))
        .order_by(worker_flags.c.created_at.desc(), worker_flags.c.id)
    )
    with reading(store.engine) as connection:
        return list(connection.execute(query).mappings())


def names(store: Store) -> dict[str, str]:
    """Account -> name."""
    with reading(store.engine) as connection:
        rows = connection.execute(select(accounts.c.id, accounts.c.name))
        return {row.id: row.name for row in rows}


def descriptions(store: Store) -> list[RowMapping]:
    """Self-descriptions: account_id, role, body. For counts and weights only."""
    query = select(self_descriptions.c.account_id, accounts.c.role, self_descriptions.c.body).join(
        accounts, accounts.c.id == self_descriptions.c.account_id
    )
    query = query.where(accounts.c.role.is_not(None), accounts.c.disabled_at.is_(None))
    with reading(store.engine) as connection:
        return list(connection.execute(query).mappings())


def coverage(store: Store) -> dict[str, dict[str, bool]]:
    """Account -> topic -> whether they can judge it. For counts only."""
    found: dict[str, dict[str, bool]] = {}
    with reading(store.engine) as connection:
        query: Select[Any] = select(topic_coverage)
        for row in connection.execute(query).mappings():
            found.setdefault(row["account_id"], {})[row["topic"]] = bool(row["can_judge"])
    return found


def description_of(store: Store, account_id: str) -> RowMapping | None:
    """One's own self-description."""
    query = select(self_descriptions).where(self_descriptions.c.account_id == account_id)
    with reading(store.engine) as connection:
        return connection.execute(query).mappings().first()


def read_by(store: Store) -> tuple[dict[str, int], int]:
    """(rubric version -> accounts that have read it, accounts that label)."""
    working = (accounts.c.role.is_not(None)) & accounts.c.disabled_at.is_(None)
    query = (
        select(acknowledgements.c.rubric, func.count())
        .join(accounts, accounts.c.id == acknowledgements.c.account_id)
        .where(working)
        .group_by(acknowledgements.c.rubric)
    )
    with reading(store.engine) as connection:
        read = {row[0]: int(row[1]) for row in connection.execute(query)}
        number = connection.execute(select(func.count()).select_from(accounts).where(working))
        return read, int(number.scalar_one())
