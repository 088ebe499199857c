"""A project: the folder with `project.toml`, the store, the gateway's log, datasets and runs.

my-project/project.toml   the store's address and the secret key that splits users
           store.sqlite   the record chain (or a PostgreSQL database elsewhere)
           log.sqlite     the gateway's log, recorded with consent
           datasets/      frozen exports
           runs/          run folders
"""

import json
import os
import secrets
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from understudy.store.repository import Store

FILE = "project.toml"
SQLITE = "sqlite:///store.sqlite"
"""The default store."""
MAX_DAYS = 36_500
"""Longest retention other than forever: a hundred years."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    """The contents of `project.toml`, with absolute paths."""

    folder: Path
    """The project's folder."""
    store: str
    """Database URL; a SQLite file is relative to the folder."""
    split_key: str
    """Secret key of the hash that splits users (see docs/prompts.md)."""
    retention_days: int | None = None
    """How many days prompts are kept; None for forever."""
    groups: tuple[str, ...] = ()
    """Groups of people from which labelers choose the one that a prompt concerns most."""

    @property
    def log(self) -> Path:
        """The gateway's log."""
        return self.folder / "log.sqlite"

    @property
    def datasets(self) -> Path:
        """The folder of exports."""
        return self.folder / "datasets"

    @property
    def runs(self) -> Path:
        """Where lineage looks for models trained on the datasets."""
        return self.folder / "runs"

    @property
    def intake_report(self) -> Path:
        """The report of the last intake, with examples of dropped prompts."""
        return self.folder / "intake.report.json"

    @property
    def backups(self) -> Path:
        """The list of the store's backups, a line each."""
        return self.folder / "backups.jsonl"

    @property
    def unfinished(self) -> Path:
        """A marker that exists while a removal is unfinished."""
        return self.folder / ".unfinished-removal"

    @property
    def url(self) -> str:
        """The store's URL with the SQLite file's absolute path."""
        file = self.store.removeprefix("sqlite:///")
        if file == self.store or Path(file).is_absolute():
            return self.store
        return f"sqlite:///{(self.folder / file).resolve()}"

    def open_store(self, *, pooled: bool = False) -> "Store":
        """The store; ValueError unless this version knows its schema."""
        from understudy.store.engine import make_engine
        from understudy.store.migrate import check_version
        from understudy.store.repository import Store

        if self.url.startswith("sqlite:///") and not Path(self.url[len("sqlite:///") :]).is_file():
            raise ValueError(f"{self.url} does not exist; restore a backup")
        engine = make_engine(self.url, pooled=pooled)
        check_version(engine)
        return Store(engine)


def create_project(folder: Path, *, store: str = SQLITE, split_key: str | None = None) -> Project:
    """Make a project with an empty store, in a folder that may exist.

    `store` is the database's URL; `split_key` the key of the hash that splits users, a new random
    one by default. ValueError if there already is a project or a store.
    """
    from understudy.store.engine import is_sqlite, make_engine, sqlite_file
    from understudy.store.migrate import upgrade, version_of

    path = folder / FILE
    if path.exists():
        raise ValueError(f"{path} exists; choose another folder")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; choose another folder")
    key = split_key or secrets.token_urlsafe(24)
    project = Project(folder=folder, store=store, split_key=key)
    engine = make_engine(project.url)
    database = sqlite_file(engine) if is_sqlite(engine) else None
    if (database is None or database.exists()) and version_of(engine) is not None:
        raise ValueError(
            f"{engine.url.render_as_string(hide_password=True)} already contains a store; choose "
            "another database"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    for made in (project.folder, project.datasets, project.runs):
        made.mkdir(mode=0o700, exist_ok=True)
    if database is not None:
        database.touch(mode=0o600)  # its write-ahead log inherits the mode
    upgrade(engine)
    engine.dispose()
    text = (
        "# Made by `understudy new`. Keep it secret: split_key decides each user's split.\n"
        f"store = {json.dumps(store, ensure_ascii=False)}\n"
        f"split_key = {json.dumps(key, ensure_ascii=False)}\n"
    )
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    return project


def open_project(folder: Path) -> Project:
    """The project in a folder; ValueError says what is wrong with its project.toml."""
    path = folder / FILE
    if not path.is_file():
        raise ValueError(f"{folder} has no {FILE}; make a project with `understudy new {folder}`")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from None
    names = ("store", "split_key")
    _check_names(path, table, required=names, optional=("privacy", "groups"))
    for name in names:
        if not isinstance(table[name], str) or not table[name]:
            raise ValueError(f"{path}: {name} is {table[name]!r}; it must be text")
    privacy = table.pop("privacy", {})
    if not isinstance(privacy, dict):
        raise ValueError(f"{path}: privacy is {privacy!r}; write it as a table, [privacy]")
    _check_names(path, privacy, optional=("retention_days",), where="[privacy] ")
    days = privacy.get("retention_days")
    if days is not None:
        check_days(f"{path}: [privacy] retention_days", days)
    groups = table.pop("groups", [])
    if not isinstance(groups, list) or not all(isinstance(g, str) and g.strip() for g in groups):
        raise ValueError(f"{path}: groups is {groups!r}; it must be a list of names")
    return Project(folder=folder, retention_days=days, groups=tuple(groups), **table)


def check_days(name: str, days: Any) -> None:
    """ValueError unless it is a valid number of days."""
    if not isinstance(days, int) or isinstance(days, bool) or not 1 <= days <= MAX_DAYS:
        raise ValueError(f"{name} is {days!r}; it must be a whole number from 1 to {MAX_DAYS}")


def _check_names(
    path: Path,
    table: dict[str, Any],
    *,
    required: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
    where: str = "",
) -> None:
    for name in required:
        if name not in table:
            raise ValueError(f"{path}: {where}key {name!r} is missing")
    known = sorted({*required, *optional})
    for name in sorted(set(table) - set(known)):
        raise ValueError(f"{path}: {where}key {name!r} is not known; known: {known}")
