"""`understudy new`: an empty project, or one with sample data to try the pages on."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from understudy.store.project import FILE, SQLITE, create_project


@dataclass(frozen=True, kw_only=True, slots=True)
class NewConfig:
    """Make a project: a folder with project.toml and a store."""

    folder: Positional[Path]
    """The folder; created if missing."""
    store: str = SQLITE
    """Database URL: a SQLite file relative to the folder, or postgresql://USER@HOST/NAME (keep the
    password in ~/.pgpass or PGPASSWORD)."""
    split_key: str | None = None
    """Key of the hash that splits users, if they have been split before (prompts build
    --split-key); by default a new random key."""
    sample_data: bool = False
    """Add everyday prompts, responses, gold items and a made-up team's labels, and print the
    owner's sign-in link, to try out the pages. Needs the extra `label`."""

    def __post_init__(self) -> None:
        file = self.store.removeprefix("sqlite:///")
        if self.store.startswith("sqlite") and file in (self.store, "", ":memory:"):
            raise ValueError(f"store {self.store!r} names no file; write it as sqlite:///FILE")
        if self.split_key is not None and not (self.split_key and self.split_key.isprintable()):
            raise ValueError(f"split_key is {self.split_key!r}; it must be printable text")


def new_project(config: NewConfig) -> str:
    """Make the project; ValueError if there already is a project or a store."""
    if config.sample_data:  # imported first: a missing extra must not leave half a project
        from understudy.labeling.sample import fill_project
    project = create_project(config.folder, store=config.store, split_key=config.split_key)
    if config.sample_data:
        return fill_project(project)
    made = f"made {config.folder / FILE}"
    folder = shlex.quote(str(config.folder))
    return f"{made}; next: understudy users add USER --project {folder} --consent"
