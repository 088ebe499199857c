"""What labelers have done, and how fast."""

from collections import defaultdict
from dataclasses import dataclass
from statistics import median
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, case, func, select, true

from understudy.store.engine import reading, rows_of
from understudy.store.labeling_tables import (
    assignments,
    gold_items,
    item_responses,
    items,
    submissions,
)
from understudy.store.repository import Store
from understudy.store.tables import prompts, responses

FINISHED = ("done", "skipped")


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
    return rows_of(store.engine, query)


def _characters() -> Any:
    """Total length of an item's responses, which labelers read before ranking."""
    return (
        select(func.coalesce(func.sum(func.length(responses.c.response)), 0))
        .join_from(item_responses, responses)
        .where(item_responses.c.item_id == items.c.id)
        .correlate(items)
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


PAGE = 50


@dataclass(frozen=True, slots=True)
class Day:
    """A labeler's work since a given time."""

    done: int
    """Items done."""
    timed: int
    """Of these, items whose duration is known."""
    seconds: float
    """Their total duration."""
    median_seconds: dict[str, float]
    """Kind -> median duration of its items."""
    streak_skips: int
    """Items skipped in a row so far."""
    trials: dict[str, dict[str, int]]
    """practice and screening: {"done": 1, "of": 3}."""


def day_of(store: Store, account_id: str, since: str) -> Day:
    """What an account has done since a given time."""
    mine = assignments.c.account_id == account_id
    query = (
        select(items.c.kind, assignments.c.seconds)
        .join_from(assignments, items)
        .where(
            mine,
            assignments.c.stage == "work",
            assignments.c.state == "done",
            assignments.c.done_at >= since,
        )
    )
    trials = (
        select(assignments.c.stage, func.count())
        .where(mine, assignments.c.stage != "work", assignments.c.state.in_(("done", "skipped")))
        .group_by(assignments.c.stage)
    )
    gold = (
        select(gold_items.c.use, func.count())
        .where(gold_items.c.retired_at.is_(None), gold_items.c.use != "mixed")
        .group_by(gold_items.c.use)
    )
    with reading(store.engine) as connection:
        rows = connection.execute(query).all()
        had: dict[str, int] = dict(map(tuple, connection.execute(trials)))
        of: dict[str, int] = dict(map(tuple, connection.execute(gold)))
        streak = skips_in_a_row(connection, account_id)
    seconds: dict[str, list[float]] = defaultdict(list)
    for kind, took in rows:
        if took is not None:
            seconds[kind].append(took)
    return Day(
        done=len(rows),
        timed=sum(map(len, seconds.values())),
        seconds=sum(map(sum, seconds.values())),
        median_seconds={kind: median(took) for kind, took in seconds.items()},
        streak_skips=streak,
        trials={
            use: {"done": had.get(use, 0), "of": of.get(use, 0)}
            for use in ("practice", "screening")
        },
    )


def history_of(store: Store, account_id: str, before: str | None = None) -> list[RowMapping]:
    """An account's submissions in practice and work, newest first, at most a page of them."""
    query: Any = (
        select(
            assignments.c.id,
            assignments.c.stage,
            assignments.c.done_at,
            assignments.c.outcome,
            items.c.kind,
            prompts.c.body.label("prompt_body"),
        )
        .join_from(assignments, items)
        .outerjoin(prompts, prompts.c.id == items.c.prompt_id)
        .where(
            assignments.c.account_id == account_id,
            assignments.c.state == "done",
            assignments.c.stage != "screening",
        )
        .order_by(assignments.c.done_at.desc())
        .limit(PAGE)
    )
    if before is not None:
        query = query.where(assignments.c.done_at < before)
    return rows_of(store.engine, query)


def count_work(connection: Connection, account_id: str) -> tuple[int, int]:
    """Work items that an account has done, and how many of those were gold."""
    num_done, num_gold = connection.execute(_WORK, {"account": account_id}).one()
    return int(num_done), int(num_gold)


_WORK = (
    select(func.count(), func.coalesce(func.sum(case((items.c.pool == "gold", 1), else_=0)), 0))
    .join_from(assignments, items)
    .where(
        assignments.c.account_id == bindparam("account"),
        assignments.c.state == "done",
        assignments.c.stage == "work",
    )
)


def skips_in_a_row(connection: Connection, account_id: str) -> int:
    """How many of an account's latest items in a row were skipped."""
    streak = 0
    for state in connection.execute(_SKIPPED, {"account": account_id}).scalars():
        if state == "done":
            break
        streak += 1
    return streak


_SKIPPED = (
    select(assignments.c.state)
    .where(
        assignments.c.account_id == bindparam("account"),
        assignments.c.state.in_(("done", "skipped")),
    )
    .order_by(assignments.c.done_at.desc())
    .limit(100)
)
