"""`understudy labels seen`: who has seen a prompt, and what somebody has seen."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.records.convert import many
from understudy.store import open_project

if TYPE_CHECKING:
    from understudy.store import Store
    from understudy.store.prompts.views import Seen


@dataclass(frozen=True, kw_only=True, slots=True)
class SeenConfig:
    """List who was shown a prompt, or what somebody was shown, on the labelers' and owner's pages.

    One line per view, oldest first. A task counts from the time it was given.
    """

    project: Path = Path()
    """The project's folder."""
    prompt: str | None = None
    """Id of a prompt."""
    labeler: str | None = None
    """Name or id of an account."""

    def __post_init__(self) -> None:
        if self.prompt is None and self.labeler is None:
            raise ValueError("give --prompt ID, --labeler NAME, or both")


def show_seen(config: SeenConfig) -> str:
    """The lines; ValueError for an unknown prompt or account."""
    from understudy.store.prompts.views import views

    store = open_project(config.project).open_store()
    if config.prompt is not None:
        _check_prompt(store, config.prompt)
    account_id = None if config.labeler is None else _account_id(store, config.labeler)
    found = views(store, prompt_id=config.prompt, account_id=account_id)
    return as_text(found)


def as_text(found: list["Seen"]) -> str:
    """A line per view: time, name, prompt, page."""
    if not found:
        return "nobody was shown it"
    width = max(len(one.name) for one in found)
    lines = [
        f"{one.at[:19]}  {one.name:<{width}}  {one.account_id}  {one.prompt_id}  {one.page}"
        for one in found
    ]
    people = len({one.account_id for one in found})
    shown = len({one.prompt_id for one in found})
    views, prompts = many(len(found), "view"), many(shown, "prompt")
    return "\n".join([*lines, f"{views}, {many(people, 'person', 'people')}, {prompts}"])


def _check_prompt(store: "Store", prompt_id: str) -> None:
    from sqlalchemy import select

    from understudy.store.engine import glancing
    from understudy.store.tables import prompts

    query = select(prompts.c.id).where(prompts.c.id == prompt_id)
    with glancing(store.engine) as connection:
        if connection.execute(query).first() is None:
            raise ValueError(f"there is no prompt {prompt_id!r}; it may have been forgotten")


def _account_id(store: "Store", name: str) -> str:
    from sqlalchemy import select

    from understudy.store.accounts.people import account_named
    from understudy.store.engine import glancing
    from understudy.store.labeling_tables import accounts

    row = account_named(store, name)
    if row is not None:
        return str(row["id"])
    query = select(accounts.c.id).where(accounts.c.id == name)
    with glancing(store.engine) as connection:
        found = connection.execute(query).scalar()
    if found is None:
        raise ValueError(f"there is no account {name!r}; see understudy labelers list")
    return str(found)
