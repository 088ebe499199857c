"""`understudy prompts expire`: prompts that are older than a project keeps them go, with all that
hangs on them, like those of a user who is forgotten (see removal.py).

    [privacy]
    retention_days = 365

in `project.toml` says how long; without it nothing expires. What counts is the time at which a
prompt was sent. A prompt without one, or with one that dates nothing (`2026`, `yesterday`), is kept
and said, and so is what labelers wrote. Times are written in one form as prompts are added; those
that an older version left in another are written anew first.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, and_, collate, func, or_, select

from understudy.store.border import stamp
from understudy.store.engine import is_sqlite, reading, writing
from understudy.store.log import before
from understudy.store.project import Project, check_days, open_project
from understudy.store.removal import Chosen, Removed, planned, remove
from understudy.store.repository import Store
from understudy.store.tables import prompts

DATED = "____-__-__T__:__:__.______+00:00"
"""What a time looks like that can be compared (SQL's LIKE)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpireConfig:
    """Delete prompts that are older than the project keeps them, and all that hangs on them."""

    project: Path = Path()
    """The project's folder."""
    days: int | None = None
    """Keep prompts for so many days; without it what project.toml says, [privacy]
    retention_days."""
    dry_run: bool = False
    """Only say what there is to delete."""

    def __post_init__(self) -> None:
        if self.days is not None:
            check_days("days", self.days)


def expire(config: ExpireConfig, *, at: datetime | None = None) -> Removed:
    """Delete what is too old `at` a moment, now by default; ValueError if nothing says how old."""
    project = open_project(config.project)
    days = project.retention_days if config.days is None else config.days
    if days is None:
        raise ValueError(
            f"{project.folder / 'project.toml'} sets no [privacy] retention_days, so that nothing "
            "expires; set it there, or give --days"
        )
    store = project.open_store()
    _date(store)
    limit = cutoff(days, at or datetime.now(UTC))
    chosen = Chosen(
        what=f"prompts from before {limit} (kept for {days:,} days)",
        prompts=_older(store, limit),
        logged=before(limit),
    )
    result = planned(project, store, chosen)
    if not config.dry_run and (not result.nothing or project.unfinished.exists()):
        result = remove(
            project,
            store,
            chosen,
            lambda connection: connection.execute(prompts.delete().where(chosen.prompts)),
        )
    result.notes += _undated(project, store)
    return result


def cutoff(days: int, at: datetime) -> str:
    """The moment so many days before another, as the store and the log write times."""
    return (at.astimezone(UTC) - timedelta(days=days)).isoformat(timespec="microseconds")


def _older(store: Store, limit: str) -> ColumnElement[bool]:
    """Times are text in UTC, compared byte by byte on both databases."""
    time: Any = prompts.c.created_at
    if not is_sqlite(store.engine):
        time = collate(time, "C")
    return and_(prompts.c.source != "labeler", prompts.c.created_at.like(DATED), time < limit)


def _date(store: Store) -> None:
    """Write the times that can be read in the form that compares."""
    query = select(prompts.c.created_at).where(prompts.c.created_at.not_like(DATED)).distinct()
    with writing(store.engine) as connection:
        for text in connection.execute(query).scalars().all():
            with suppress(ValueError):
                same = prompts.c.created_at == text
                connection.execute(prompts.update().where(same).values(created_at=stamp(text)))


def _undated(project: Project, store: Store) -> list[str]:
    """Prompts whose age nobody knows, with an example of what they have for a time."""
    time = prompts.c.created_at
    undated = and_(prompts.c.source != "labeler", or_(time.is_(None), time.not_like(DATED)))
    query = select(func.count(), func.count(time), func.min(time)).where(undated)
    with reading(store.engine) as connection:
        number, wrong, example = connection.execute(query).one()
    lines = []
    if number > wrong:
        lines += [f"kept: {number - wrong:,} prompts without created_at, whose age is not known"]
    if wrong:
        lines += [f"kept: {wrong:,} prompts whose created_at is no full time, like {example!r}"]
    return lines
