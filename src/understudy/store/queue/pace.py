"""What a labeler has done, and how fast."""

from collections import defaultdict
from dataclasses import dataclass
from statistics import median
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, case, func, select

from understudy.store.accounts.alarms import skips_in_a_row
from understudy.store.engine import reading
from understudy.store.labeling_tables import assignments, gold_items, items
from understudy.store.repository import Store
from understudy.store.tables import prompts

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
        .where(mine, assignments.c.state == "done", assignments.c.done_at >= since)
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
    """An account's submissions in work, newest first, at most a page of them."""
    query: Any = (
        select(
            assignments.c.id,
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
            assignments.c.stage == "work",
        )
        .order_by(assignments.c.done_at.desc())
        .limit(PAGE)
    )
    if before is not None:
        query = query.where(assignments.c.done_at < before)
    with reading(store.engine) as connection:
        return list(connection.execute(query).mappings())


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


def gold_of(store: Store, item_id: str) -> RowMapping | None:
    """The researcher's own answer to an item."""
    with reading(store.engine) as connection:
        query = select(gold_items).where(gold_items.c.item_id == item_id)
        return connection.execute(query).mappings().first()
