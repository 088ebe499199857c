"""A project: the folder with `project.toml`, the store, the gateway's log, datasets and runs.

my-project/project.toml   where the rest is, and the secret key that splits users
           store.sqlite   the record chain (or a PostgreSQL database elsewhere)
           log.sqlite     what the gateway recorded, with consent
           datasets/      frozen exports
           runs/          run folders
"""

import json
import os
import secrets
from dataclasses import dataclass, fields
from pathlib import Path

from tyro.conf import Positional

from understudy.store.engine import make_engine
from understudy.store.migrate import check_version, upgrade, version_of
from understudy.store.repository import Store

FILE = "project.toml"


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    """What `project.toml` says, with every path made whole."""

    folder: Path
    """The project's folder."""
    store: str
    """Database URL; a SQLite file is relative to the folder."""
    split_key: str
    """Secret key of the hash that splits users (see docs/prompts.md)."""

    @property
    def log(self) -> Path:
        """The gateway's log."""
        return self.folder / "log.sqlite"

    @property
    def datasets(self) -> Path:
        """Where exports go."""
        return self.folder / "datasets"

    @property
    def runs(self) -> Path:
        """Where lineage looks for the models that were trained on the datasets."""
        return self.folder / "runs"

    @property
    def intake_report(self) -> Path:
        """What intake did last, with examples of what it dropped."""
        return self.folder / "intake.report.json"

    @property
    def url(self) -> str:
        """The store's URL with the SQLite file's whole path."""
        file = self.store.removeprefix("sqlite:///")
        if file == self.store or Path(file).is_absolute():
            return self.store
        return f"sqlite:///{(self.folder / file).resolve()}"

    def open_store(self, *, pooled: bool = False) -> Store:
        """The store, if its schema is the one that this version knows; else ValueError."""
        if self.url.startswith("sqlite:///") and not Path(self.url[len("sqlite:///") :]).is_file():
            raise ValueError(f"{self.url} does not exist; restore a backup")
        engine = make_engine(self.url, pooled=pooled)
        check_version(engine)
        return Store(engine)


@dataclass(frozen=True, kw_only=True, slots=True)
class NewConfig:
    """Make a project: a folder with project.toml and a store."""

    folder: Positional[Path]
    """The folder; made when missing."""
    store: str = "sqlite:///store.sqlite"
    """Database URL: a SQLite file relative to the folder, or postgresql://USER@HOST/NAME (keep the
    password in ~/.pgpass or PGPASSWORD)."""
    split_key: str | None = None
    """Key of the hash that splits users, if they have been split already (prompts build
    --split-key); a new random one without it."""

    def __post_init__(self) -> None:
        if self.split_key is not None and not (self.split_key and self.split_key.isprintable()):
            raise ValueError(f"split_key is {self.split_key!r}; it must be printable text")


def new_project(config: NewConfig) -> str:
    """Make it; ValueError where there is a project, or a store, already."""
    path = config.folder / FILE
    if path.exists():
        raise ValueError(f"{path} exists; choose another folder")
    key = config.split_key or secrets.token_urlsafe(24)
    project = Project(folder=config.folder, store=config.store, split_key=key)
    for folder in (project.folder, project.datasets, project.runs):
        folder.mkdir(parents=True, exist_ok=True)
    engine = make_engine(project.url)
    if version_of(engine) is not None:
        raise ValueError(
            f"{engine.url.render_as_string(hide_password=True)} holds a store already; choose "
            "another database"
        )
    upgrade(engine)
    if project.url.startswith("sqlite"):
        Path(str(engine.url.database)).chmod(0o600)
    engine.dispose()
    text = (
        "# Made by `understudy new`. Keep it secret: split_key decides who is in which split.\n"
        f"store = {json.dumps(config.store, ensure_ascii=False)}\n"
        f"split_key = {json.dumps(key, ensure_ascii=False)}\n"
    )
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    return f"made {path}; next: understudy users add USER --project {config.folder} --consent"


def open_project(folder: Path) -> Project:
    """The project in a folder, or ValueError that says what is wrong with its project.toml."""
    import tomllib

    path = folder / FILE
    if not path.is_file():
        raise ValueError(f"{folder} holds no {FILE}; make a project with `understudy new {folder}`")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from None
    names = {field.name for field in fields(Project)} - {"folder"}
    for name in sorted(names ^ set(table)):
        problem = "is missing" if name in names else f"is not known; known: {sorted(names)}"
        raise ValueError(f"{path}: key {name!r} {problem}")
    for name in names:
        if not isinstance(table[name], str) or not table[name]:
            raise ValueError(f"{path}: {name} is {table[name]!r}; it must be text")
    return Project(folder=folder, **table)
