"""Deletes prompts with all dependent data everywhere in a project.

Covers the log, the store (by cascade: responses, labels, feedback) and the datasets' files. Deleted
data is overwritten on the disk (disk.py). Models trained on it are listed, not changed; the
project's folder is searched for the deleted texts, and every file that still has one is listed, as
is every backup. `forget_user` and `expiry.py` select prompts in two ways.

An interrupted removal leaves `.unfinished-removal` in the project, and so does one that could not
erase everything; the next removal finishes it.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, func, select

from understudy.records import prompt_text
from understudy.records.convert import many
from understudy.store.engine import is_sqlite, reading, sqlite_file, writing
from understudy.store.erasure.disk import copies_of, erase_deleted
from understudy.store.exports.files import write_dataset
from understudy.store.lineage import models_that_used
from understudy.store.maintenance import backups_of
from understudy.store.project import Project
from understudy.store.prompts.log import PromptLog, Rows, of_user
from understudy.store.repository import Store
from understudy.store.rows import prompt_of_body
from understudy.store.tables import (
    dataset_files,
    dataset_records,
    datasets,
    feedback,
    labels,
    prompts,
    responses,
    users,
)

if TYPE_CHECKING:
    from understudy.store.erasure.traces import Texts

SHOWN = 20
"""Prompts that a dry run lists."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """Which prompts to delete."""

    what: str
    """The selection in words, such as the user's id."""
    prompts: ColumnElement[bool]
    """A condition on the table of prompts."""
    logged: Rows
    """The rows of the log."""


@dataclass(slots=True)
class Removed:
    """What was deleted, what had used it, and what remains to be done."""

    what: str
    """The selection in words."""
    num_prompts: int = 0
    """Prompts in the store."""
    num_labels: int = 0
    """Labels on them."""
    num_logged: int = 0
    """Rows of the log."""
    datasets: list[str] = field(default_factory=list)
    """Datasets that had used them."""
    models: list[str] = field(default_factory=list)
    """Run folders that had read those datasets, directly or through other runs."""
    traces: list[str] = field(default_factory=list)
    """Files in the project that still contain a deleted text."""
    backups: list[str] = field(default_factory=list)
    """Earlier backups of the store."""
    left: list[str] = field(default_factory=list)
    """What the database could not erase, a line each."""
    notes: list[str] = field(default_factory=list)
    """Further notes."""
    shown: list[str] | None = None
    """The first prompts, in a dry run."""

    @property
    def nothing(self) -> bool:
        """Whether there was nothing to delete."""
        return not (self.num_prompts or self.num_logged)

    def table(self) -> str:
        """As text."""
        counts = (
            f"{self.what}: {many(self.num_prompts, 'prompt')} with "
            f"{many(self.num_labels, 'label')} "
            f"in the store, {many(self.num_logged, 'row')} of the log"
        )
        return "\n".join(self._planned(counts) if self.shown is not None else self._done(counts))

    def _planned(self, counts: str) -> Iterator[str]:
        yield f"would delete {counts}"
        yield from self.shown or ()
        yield from (f"dataset {name} has used them" for name in self.datasets)
        yield from (f"model {path} was trained on them" for path in self.models)
        yield from self.notes

    def _done(self, counts: str) -> Iterator[str]:
        yield f"deleted {counts}"
        yield from (
            f"dataset {name} had used them; its files are rewritten" for name in self.datasets
        )
        yield from (f"model {path} was trained on them: train it again" for path in self.models)
        yield from (f"{path} still contains a deleted text: delete it" for path in self.traces)
        yield from (f"backup {path} may contain them: delete it" for path in self.backups)
        yield from (f"still in {line}" for line in self.left)
        yield from self.notes
        yield (
            "not covered: backups that were moved, files outside the project, the database "
            "server's own log, the disk's spare blocks"
        )


def planned(project: Project, store: Store, chosen: Chosen) -> Removed:
    """What would be deleted; changes nothing."""
    found = _found(project, store, chosen)
    query = select(prompts.c.id, prompts.c.user_id, prompts.c.created_at).where(chosen.prompts)
    query = query.order_by(prompts.c.created_at, prompts.c.id).limit(SHOWN)
    with reading(store.engine) as connection:
        found.shown = [
            f"  {name} of {user}, sent {time or 'at an unknown time'}"
            for name, user, time in connection.execute(query)
        ]
    more = found.num_prompts - len(found.shown)
    if more:
        found.shown.append(f"  and {more:,} more")
    if project.log.is_file():
        log = PromptLog(project.log)
        found.num_logged = log.count(chosen.logged)
        log.close()
    return found


def remove(
    project: Project, store: Store, chosen: Chosen, delete: Callable[[Connection], Any]
) -> Removed:
    """Delete them; `delete` does so in the store, within a transaction."""
    from understudy.store.erasure.traces import Texts, files_with  # needs NumPy

    result = _found(project, store, chosen)
    _begin(project, result)
    with reading(store.engine) as connection:
        texts = Texts(_texts_of(connection, chosen))
    with writing(store.engine) as connection:
        delete(connection)
    if project.log.is_file():
        result.num_logged = _remove_logged(project, chosen.logged, texts, result.left)
    for dataset_id, name in _shortened(store):
        _rewrite(store, project, dataset_id, name)
    project.intake_report.unlink(missing_ok=True)  # it quotes prompts
    for partial in project.datasets.glob(".*.partial"):
        partial.unlink()
    result.left += erase_deleted(store.engine)
    result.notes += [f"also in {line}" for line in copies_of(store.engine)]
    backups = backups_of(project)
    result.backups = [f"{path} of {at}" for path, at in backups]
    ours = {path.resolve() for path in (project.log, *_current_files(project, store))}
    ours |= {path.resolve() for path, _ in backups}
    result.traces = [str(path) for path in files_with(project.folder, texts, but=ours)]
    if not result.left:
        project.unfinished.unlink()
    return result


def _begin(project: Project, result: Removed) -> None:
    """Save the affected datasets and models, merged with those of an interrupted removal: once the
    records are gone, nothing leads to the models any more."""
    if project.unfinished.exists():
        earlier = json.loads(project.unfinished.read_text(encoding="utf-8") or "{}")
        for name in ("datasets", "models"):
            setattr(result, name, sorted({*getattr(result, name), *earlier.get(name, ())}))
    partial = project.unfinished.with_suffix(".tmp")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump({"datasets": result.datasets, "models": result.models}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, project.unfinished)


def _found(project: Project, store: Store, chosen: Chosen) -> Removed:
    """Counts in the store, and the datasets and models that used them."""
    with reading(store.engine) as connection:
        used = _datasets_of(connection, chosen)
        hashes = set(_hashes_of(connection, used))
        found = Removed(
            chosen.what,
            num_prompts=_count(connection, select(prompts.c.id).where(chosen.prompts)),
            num_labels=_count(connection, select(labels.c.id).join(prompts).where(chosen.prompts)),
            datasets=used,
        )
    found.models = [str(run) for run in models_that_used(project.folder, hashes)]
    return found


def _remove_logged(project: Project, rows: Rows, texts: "Texts", left: list[str]) -> int:
    """Delete rows of the log, and add their texts to the search; returns how many rows."""
    log = PromptLog(project.log)
    try:
        for _, event in log.events(rows=rows):
            for text in _strings(event.body):
                texts.add(text)
        number = log.delete(rows)
        if not log.shrink():
            left.append(f"{project.log}'s write-ahead log: another process reads it; run again")
    finally:
        log.close()
    return number


def forget_user(project: Project, user_id: str, *, dry_run: bool = False) -> Removed:
    """Delete a user with all dependent data; ValueError if neither store nor log knows them.

    Running it again for the same user finishes an interrupted removal.
    """
    store = project.open_store()
    mine = users.c.id == user_id
    with reading(store.engine) as connection:
        known = connection.execute(select(users.c.id).where(mine)).first() is not None
    chosen = Chosen(what=user_id, prompts=prompts.c.user_id == user_id, logged=of_user(user_id))
    found = planned(project, store, chosen)
    if not known and not found.num_logged and not project.unfinished.exists():
        raise ValueError(f"there is no user {user_id!r} in the store or the log")
    if dry_run:
        return found
    return remove(project, store, chosen, lambda store: store.execute(users.delete().where(mine)))


def _texts_of(connection: Connection, chosen: Chosen) -> Iterator[str]:
    """The texts of prompts and responses."""
    for (body,) in connection.execute(select(prompts.c.body).where(chosen.prompts)):
        prompt = prompt_of_body(body)
        yield from [prompt] if isinstance(prompt, str) else [turn.content for turn in prompt]
        yield prompt_text(prompt)
    given = select(responses.c.response).join(prompts).where(chosen.prompts)
    yield from connection.execute(given).scalars()
    said = select(feedback.c.value).join(prompts).where(chosen.prompts)
    for value in connection.execute(said).scalars():
        yield from _strings(json.loads(value))


def _datasets_of(connection: Connection, chosen: Chosen) -> list[str]:
    query = (
        select(dataset_records.c.dataset_id)
        .join(prompts, prompts.c.id == dataset_records.c.prompt_id)
        .where(chosen.prompts)
        .distinct()
    )
    return sorted(connection.execute(query).scalars())


def _hashes_of(connection: Connection, ids: list[str]) -> Iterator[str]:
    """The hashes of every file that the datasets were ever written to."""
    query = select(dataset_files.c.sha256).where(dataset_files.c.dataset_id.in_(ids))
    yield from connection.execute(query).scalars()


def _current_files(project: Project, store: Store) -> Iterator[Path]:
    """The store's own file and the datasets' files, which have been rewritten."""
    if is_sqlite(store.engine):
        yield sqlite_file(store.engine)
    with reading(store.engine) as connection:
        paths = connection.execute(select(dataset_files.c.path).where(dataset_files.c.current))
        yield from (project.folder / path for path in paths.scalars())


def _count(connection: Connection, query: Any) -> int:
    number = select(func.count()).select_from(query.subquery())
    return int(connection.execute(number).scalar_one())


def _shortened(store: Store) -> list[tuple[str, str]]:
    """(dataset, path) of files affected by this removal or an interrupted one."""
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
    """Rewrite a dataset's file without the deleted records, if it still is that dataset's."""
    path = project.folder / name
    if not path.is_file():
        return
    partial = path.with_name(f".{path.name}.{dataset_id}.partial")
    partial.unlink(missing_ok=True)
    write_dataset(store, project, dataset_id, path, overwrite=True)


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
