"""`understudy prompts expire`: deletes prompts older than a project's retention."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.store.project import check_days, open_project

if TYPE_CHECKING:
    from understudy.store.erasure.removal import Removed


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpireConfig:
    """Delete prompts older than the project's retention, with all dependent data."""

    project: Path = Path()
    """The project's folder."""
    days: int | None = None
    """Days to keep prompts; by default [privacy] retention_days in project.toml."""
    dry_run: bool = False
    """Only list what would be deleted."""

    def __post_init__(self) -> None:
        if self.days is not None:
            check_days("days", self.days)


def expire_prompts(config: ExpireConfig) -> "Removed":
    """Delete the prompts, or list them; ValueError if no retention is set."""
    from understudy.store.erasure.expiry import expire

    return expire(open_project(config.project), days=config.days, dry_run=config.dry_run)
