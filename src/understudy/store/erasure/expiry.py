"""Deletes prompts older than a project's retention with all dependent data, as for a user who is
forgotten (see removal.py).

    [privacy]
    retention_days = 365

in `project.toml` sets the retention; without it nothing expires. The time at which a prompt was
sent decides. A prompt without one, or with an unusable one (`2026`, `yesterday`), is kept and
reported, and so are prompts that labelers wrote. Times are normalised as prompts are added; times
that an older version left in another form are normalised first.
"""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, collate, func, or_, select

from understudy.records.convert import many
from understudy.store.border import stamp
from understudy.store.engine import is_sqlite, reading, writing
from understudy.store.erasure.removal import Chosen, Removed, planned, remove
from understudy.store.project import Project
from understudy.store.prompts.log import before
from understudy.store.repository import Store
from understudy.store.tables import prompts

DATED = "____-__-__T__:__:__.______+00:00"
"""The pattern (SQL's LIKE) of times that can be compared."""


def expire(
    project: Project, *, days: int | None = None, dry_run: bool = False, at: datetime | None = None
) -> Removed:
    """Delete prompts older than `days` (the project's retention by default) at the time `at` (now
    by default). ValueError if no retention is set.
    """
    days = project.retention_days if days is None else days
    if days is None:
        raise ValueError(
            f"{project.folder / 'project.toml'} sets no [privacy] retention_days, so nothing "
            "expires; set it there, or give --days"
        )
    store = project.open_store()
    _date(store)
    limit = cutoff(days, at or datetime.now(UTC))
    chosen = Chosen(
        what=f"prompts from before {limit} (kept for {many(days, 'day')})",
        prompts=_older(store, limit),
        logged=before(limit),
    )
    result = planned(project, store, chosen)
    if not dry_run and (not result.nothing or project.unfinished.exists()):
        result = remove(
            project,
            store,
            chosen,
            lambda connection: connection.execute(prompts.delete().where(chosen.prompts)),
        )
    result.notes += _undated(project, store)
    return result


def cutoff(days: int, at: datetime) -> str:
    """The time so many days before another, in the format of the store and the log."""
    return (at.astimezone(UTC) - timedelta(days=days)).isoformat(timespec="microseconds")


def _older(store: Store, limit: str) -> ColumnElement[bool]:
    """Times are UTC text, compared byte by byte on both databases."""

    time: Any = prompts.c.created_at
    if not is_sqlite(store.engine):
        time = collate(time, "C")
    return and_(prompts.c.source != "labeler", prompts.c.created_at.like(DATED), time < limit)


def _date(store: Store) -> None:
    """Normalise the times that can be parsed."""

    query = select(prompts.c.created_at).where(prompts.c.created_at.not_like(DATED)).distinct()
    with writing(store.engine) as connection:
        for text in connection.execute(query).scalars().all():
            with suppress(ValueError):
                same = prompts.c.created_at == text
                connection.execute(prompts.update().where(same).values(created_at=stamp(text)))


def _undated(project: Project, store: Store) -> list[str]:
    """Lines on prompts of unknown age, with an example of an unusable time."""

    time = prompts.c.created_at
    undated = and_(prompts.c.source != "labeler", or_(time.is_(None), time.not_like(DATED)))
    query = select(func.count(), func.count(time), func.min(time)).where(undated)
    with reading(store.engine) as connection:
        number, wrong, example = connection.execute(query).one()
    lines = []
    if number > wrong:
        old = many(number - wrong, "prompt")
        lines += [f"kept: {old} without created_at, whose age is unknown"]
    if wrong:
        bad = many(wrong, "prompt")
        lines += [f"kept: {bad} whose created_at is not a full time, like {example!r}"]
    return lines
