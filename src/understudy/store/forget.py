"""`understudy users forget USER`: deletes a user and all dependent data everywhere in the project
(see removal.py)."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from understudy.store.project import open_project

if TYPE_CHECKING:
    from understudy.store.erasure.removal import Removed


@dataclass(frozen=True, kw_only=True, slots=True)
class ForgetConfig:
    """Delete a user with all dependent data, and list what was made from it."""

    user: Positional[str]
    """The user's id."""
    project: Path = Path()
    """The project's folder."""
    dry_run: bool = False
    """Only list what would be deleted."""


def forget(config: ForgetConfig) -> "Removed":
    """Delete the user; ValueError if neither the store nor the log knows them.

    Running it again for the same user finishes an interrupted removal.
    """
    from sqlalchemy import select

    from understudy.store.engine import reading
    from understudy.store.erasure.removal import Chosen, planned, remove
    from understudy.store.prompts.log import of_user
    from understudy.store.tables import prompts, users

    project = open_project(config.project)
    store = project.open_store()
    mine = users.c.id == config.user
    with reading(store.engine) as connection:
        known = connection.execute(select(users.c.id).where(mine)).first() is not None
    chosen = Chosen(
        what=config.user, prompts=prompts.c.user_id == config.user, logged=of_user(config.user)
    )
    found = planned(project, store, chosen)
    if not known and not found.num_logged and not project.unfinished.exists():
        raise ValueError(f"there is no user {config.user!r} in the store or the log")
    if config.dry_run:
        return found
    return remove(project, store, chosen, lambda store: store.execute(users.delete().where(mine)))
