"""`understudy users forget USER`: everything that hangs on a user goes, everywhere in the project.

The log, the store (by cascade: prompts, responses, labels, feedback, keys, usage), the datasets'
files. SQLite overwrites what it deletes, and both files are rewritten and their WAL emptied;
PostgreSQL's tables are rewritten (VACUUM FULL). What was trained on the user's records is named,
not changed; then the project's folder is searched for the user's prompts and answers, and every
file that still has one is named.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, func, select
from tyro.conf import Positional

from understudy.records import prompt_text
from understudy.store.engine import bare, is_sqlite, reading, sqlite_file, writing
from understudy.store.export import write_dataset
from understudy.store.lineage import models_that_used
from understudy.store.log import PromptLog
from understudy.store.project import Project, open_project
from understudy.store.repository import Store
from understudy.store.rows import prompt_of_body
from understudy.store.tables import (
    dataset_files,
    dataset_records,
    datasets,
    labels,
    metadata,
    prompts,
    responses,
    users,
)

SEARCHED_CHARS = 24
"""Texts at least this long are searched for: a shorter one may be anybody's."""
PIECE = 1 << 20
"""Bytes of a file that are searched at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ForgetConfig:
    """Delete a user and all that hangs on them, and name what was made from it."""

    user: Positional[str]
    """The user's id."""
    project: Path = Path()
    """The project's folder."""


@dataclass(slots=True)
class Forgotten:
    """What was deleted and what is left to do."""

    user: str
    """Who is gone."""
    num_prompts: int = 0
    """Prompts that the store had."""
    num_labels: int = 0
    """Labels on them."""
    num_logged: int = 0
    """Rows that the log had."""
    datasets: list[str] = field(default_factory=list)
    """Datasets that had used them."""
    models: list[str] = field(default_factory=list)
    """Run folders that had read those, or built on one that had."""
    traces: list[str] = field(default_factory=list)
    """Files in the project that still have a text of theirs."""

    def table(self) -> str:
        """As text."""
        lines = [
            f"deleted {self.user}: {self.num_prompts:,} prompts with {self.num_labels:,} labels "
            f"in the store, {self.num_logged:,} rows of the log",
            *(f"dataset {name} had used them; its files are rewritten" for name in self.datasets),
            *(f"model {path} was trained on them: train it again" for path in self.models),
            *(f"{path} still holds a text of theirs: delete it" for path in self.traces),
            "not reached: backups, files outside the project, the disk's own spare blocks",
        ]
        return "\n".join(lines)


def forget(config: ForgetConfig) -> Forgotten:
    """Delete the user; ValueError if neither the store nor the log has ever heard of them."""
    project = open_project(config.project)
    store = project.open_store()
    result = Forgotten(config.user)
    with reading(store.engine) as connection:
        known = connection.execute(select(users.c.id).where(users.c.id == config.user)).first()
        texts = set(_texts_of(connection, config.user))
        result.datasets = _datasets_of(connection, config.user)
        files = _files_of(connection, result.datasets)
    result.models = [
        str(run) for run in models_that_used(project.folder, {sha for *_, sha in files})
    ]
    with writing(store.engine) as connection:
        mine = prompts.c.user_id == config.user
        result.num_prompts = _count(connection, select(prompts.c.id).where(mine))
        result.num_labels = _count(connection, select(labels.c.id).join(prompts).where(mine))
        connection.execute(users.delete().where(users.c.id == config.user))
    if project.log.is_file():
        log = PromptLog(project.log)
        mine_logged = (event for _, event in log.events() if event.user_id == config.user)
        texts |= {text for event in mine_logged for text in _strings(event.body)}
        result.num_logged = log.forget(config.user)
        log.close()
    for dataset_id, name in _shortened(store):
        _rewrite(store, project, dataset_id, name)
    if known is None and not result.num_logged:
        raise ValueError(f"there is no user {config.user!r} in the store or the log")
    project.intake_report.unlink(missing_ok=True)  # it has the beginnings of prompts
    for partial in project.datasets.glob(".*.partial"):
        partial.unlink()
    shrink(store)
    ours = {project.log, *(project.folder / name for _, name, _ in files)}
    ours |= {sqlite_file(store.engine)} if is_sqlite(store.engine) else set()
    ours = {path.resolve() for path in ours}
    found = (path for path in files_with(project.folder, texts) if path.resolve() not in ours)
    result.traces = [str(path) for path in found]
    return result


def _texts_of(connection: Connection, user: str) -> Iterator[str]:
    """What the user asked and what was answered."""
    mine = prompts.c.user_id == user
    for (body,) in connection.execute(select(prompts.c.body).where(mine)):
        prompt = prompt_of_body(body)
        yield from [prompt] if isinstance(prompt, str) else [turn.content for turn in prompt]
        yield prompt_text(prompt)
    query = select(responses.c.response).join(prompts).where(mine)
    yield from connection.execute(query).scalars()


def _datasets_of(connection: Connection, user: str) -> list[str]:
    query = (
        select(dataset_records.c.dataset_id)
        .join(prompts, prompts.c.id == dataset_records.c.prompt_id)
        .where(prompts.c.user_id == user)
        .distinct()
    )
    return sorted(connection.execute(query).scalars())


def _files_of(connection: Connection, ids: list[str]) -> list[tuple[str, str, str]]:
    """(dataset, path, sha256) of every file that they ever were."""
    query = select(dataset_files.c.dataset_id, dataset_files.c.path, dataset_files.c.sha256)
    rows = connection.execute(query.where(dataset_files.c.dataset_id.in_(ids)))
    return [(row[0], row[1], row[2]) for row in rows]


def _count(connection: Connection, query: object) -> int:
    return len(connection.execute(query).all())  # type: ignore[call-overload]


def _shortened(store: Store) -> list[tuple[str, str]]:
    """(dataset, path) of files from which somebody was forgotten: now, or before a run of this
    command that was cut short."""
    member = dataset_records.c.dataset_id == datasets.c.id
    left = select(func.count()).where(member).scalar_subquery()
    query = (
        select(dataset_files.c.dataset_id, dataset_files.c.path)
        .join(datasets)
        .where(dataset_files.c.current, datasets.c.num_records > left)
    )
    with reading(store.engine) as connection:
        return [(row[0], row[1]) for row in connection.execute(query)]


def _rewrite(store: Store, project: Project, dataset_id: str, name: str) -> None:
    """Write a dataset's file anew, without what is gone, if it still is that dataset's."""
    path = project.folder / name
    if not path.is_file():
        return
    partial = path.with_name(f".{path.name}.{dataset_id}.partial")
    partial.unlink(missing_ok=True)
    write_dataset(store, project, dataset_id, path, overwrite=True)


def shrink(store: Store) -> None:
    """Rewrite the database, so that no byte of a deleted row is left in its files."""
    with bare(store.engine) as connection:
        if is_sqlite(connection):
            connection.exec_driver_sql("VACUUM")
            checkpoint = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
            if checkpoint[0]:
                raise OSError("somebody is reading the store; run this again to empty its WAL")
            return
        for table in metadata.sorted_tables:
            connection.exec_driver_sql(f"VACUUM FULL {table.name}")
        connection.exec_driver_sql("CHECKPOINT")


def files_with(folder: Path, texts: Iterable[str]) -> Iterator[Path]:
    """Files below a folder that hold one of the texts, as it is or as JSON writes it."""
    long = [text for text in texts if len(text) >= SEARCHED_CHARS]
    needles = {
        form.encode("utf-8", "replace")
        for text in long
        for form in (text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
    }
    if not needles:
        return
    overlap = max(map(len, needles))
    for path in sorted(folder.rglob("*")):
        if path.is_file() and _holds(path, needles, overlap):
            yield path


def _holds(path: Path, needles: set[bytes], overlap: int) -> bool:
    kept = b""
    with path.open("rb") as stream:
        while piece := stream.read(PIECE):
            window = kept + piece
            if any(needle in window for needle in needles):
                return True
            kept = window[-overlap:]
    return False


def _strings(value: object) -> Iterator[str]:
    """All texts in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)
