"""`understudy prompts expire`: prompts that are older than a project keeps them go, with all that
hangs on them, like those of a user who is forgotten (see removal.py).

    [privacy]
    retention_days = 365

in `project.toml` says how long; without it nothing expires. What counts is the time at which a
prompt was sent. A prompt without one, and what labelers wrote, are kept: the first is said.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, and_, collate, func, select

from understudy.store.engine import is_sqlite, reading
from understudy.store.log import before
from understudy.store.project import Project, check_days, open_project
from understudy.store.removal import Chosen, Removed, planned, remove
from understudy.store.repository import Store
from understudy.store.tables import prompts


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
    limit = cutoff(days, at or datetime.now(UTC))
    chosen = Chosen(
        what=f"prompts from before {limit}",
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
    return and_(prompts.c.source != "labeler", time < limit)


def _undated(project: Project, store: Store) -> list[str]:
    """Prompts whose age nobody knows."""
    query = select(func.count()).select_from(prompts)
    query = query.where(prompts.c.source != "labeler", prompts.c.created_at.is_(None))
    with reading(store.engine) as connection:
        number = connection.execute(query).scalar_one()
    if not number:
        return []
    return [f"kept: {number:,} prompts without created_at, whose age is not known"]
