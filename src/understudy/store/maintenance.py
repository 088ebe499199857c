"""Checks of a store and its files, and backups."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from glob import escape
from pathlib import Path
from uuid import uuid4

from sqlalchemy import Engine, func, select

from understudy.records import file_hash
from understudy.store.engine import bare, is_sqlite, make_engine, reading
from understudy.store.exports.files import stored_path
from understudy.store.project import Project
from understudy.store.repository import Store
from understudy.store.rows import now
from understudy.store.tables import (
    dataset_files,
    dataset_records,
    labelers,
    labels,
    metadata,
    ranked_responses,
)


class StoreDamaged(OSError):
    """The store or one of its files is damaged."""


def check(project: Project) -> str:
    """A summary; StoreDamaged names the first problems."""

    store = project.open_store()
    problems = [*_database_problems(store), *_chain_problems(store), *_file_problems(project)]
    if problems:
        more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
        raise StoreDamaged("; ".join(problems[:5]) + more)
    with reading(store.engine) as connection:
        counts = {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in metadata.sorted_tables
        }
    lines = [f"{name:<18} {number:>10,}" for name, number in counts.items()]
    if project.unfinished.exists():
        lines.append(
            "a removal is unfinished: run `understudy users forget` for that user, or "
            "`understudy prompts expire`, again"
        )
    return "\n".join([*lines, "the store is sound"])


def _database_problems(store: Store) -> Iterator[str]:
    """Problems that SQLite finds in its own file; PostgreSQL checks its pages as it reads them."""

    if not is_sqlite(store.engine):
        return
    with bare(store.engine) as connection:
        for (line,) in connection.exec_driver_sql("PRAGMA integrity_check(20)"):
            if line != "ok":
                yield f"integrity: {line}"
        for row in connection.exec_driver_sql("PRAGMA foreign_key_check"):
            yield f"table {row[0]} row {row[1]} names a missing row of {row[2]}"


def _chain_problems(store: Store) -> Iterator[str]:
    """Invariants that no single constraint expresses."""

    ranked = select(ranked_responses.c.label_id).where(ranked_responses.c.label_id == labels.c.id)
    unranked = select(labels.c.id).where(labels.c.kind == "ranking", ~ranked.exists())
    sneaked = (
        select(dataset_records.c.dataset_id, labelers.c.id)
        .join(labels, labels.c.id == dataset_records.c.label_id)
        .join(labelers, labelers.c.id == labels.c.labeler_id)
        .where(dataset_records.c.purpose == "training", labelers.c.role != "training")
        .distinct()
    )
    with reading(store.engine) as connection:
        for (name,) in connection.execute(unranked):
            yield f"ranking {name} has no responses"
        for dataset, labeler in connection.execute(sneaked):
            yield f"training dataset {dataset} has records of {labeler}, not a training labeler"


def _file_problems(project: Project) -> Iterator[str]:

    query = select(dataset_files.c.path, dataset_files.c.sha256).where(dataset_files.c.current)
    with reading(project.open_store().engine) as connection:
        rows = list(connection.execute(query))
    for name, sha256 in rows:
        path = project.folder / name
        if not path.is_file():
            yield f"dataset file {path} is missing"
        elif file_hash(path) != sha256:
            yield f"dataset file {path} differs from what was exported"


def backup(project: Project, out: Path) -> None:
    """Copy one snapshot of the store to `out`, and of the gateway's log to `out`.log."""

    engine = project.open_store().engine
    log_copy = out.with_name(out.name + ".log")
    for path in (out, log_copy):
        if path.exists():
            raise ValueError(f"{path} exists; choose another name")
    _note_backup(project, out)
    if is_sqlite(engine):
        _copy_sqlite(engine, out)
    else:
        _dump_postgresql(engine, out)
    if project.log.is_file():
        _copy_sqlite(make_engine(f"sqlite:///{project.log}"), log_copy)


def _note_backup(project: Project, out: Path) -> None:
    """Record where a copy goes, before it is made, for `backups_of`."""

    row = {"path": stored_path(project, out), "at": now()}
    with open(os.open(project.backups, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
        file.write(json.dumps(row) + "\n")


def backups_of(project: Project) -> list[tuple[Path, str]]:
    """(path, time) of the copies that are still where they were made, including the log's and the
    remains of an interrupted backup."""
    if not project.backups.is_file():
        return []
    made: dict[Path, str] = {}
    for row in map(json.loads, project.backups.read_text(encoding="utf-8").splitlines()):
        out = project.folder / row["path"]
        plain = escape(out.name)
        names = (plain, f"{plain}.log", f".{plain}.*.tmp", f".{plain}.log.*.tmp")
        made |= {path: row["at"] for name in names for path in out.parent.glob(name)}
    return sorted(made.items())


def _copy_sqlite(engine: Engine, out: Path) -> None:

    partial = out.with_name(f".{out.name}.{uuid4().hex}.tmp")
    partial.touch(mode=0o600)  # VACUUM INTO accepts an empty file
    try:
        with bare(engine) as connection:
            connection.exec_driver_sql("VACUUM INTO ?", (str(partial),))
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)


def _dump_postgresql(engine: Engine, out: Path) -> None:
    program = shutil.which("pg_dump") or next(
        (str(p) for p in sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_dump"))), None
    )
    if program is None:
        raise ValueError("pg_dump is not installed; install PostgreSQL's client programs")
    url = engine.url.set(drivername="postgresql", password=None)
    environment = dict(os.environ)
    if engine.url.password:
        environment["PGPASSWORD"] = str(engine.url.password)
    partial = out.with_name(f".{out.name}.{uuid4().hex}.tmp")
    partial.touch(mode=0o600)
    try:
        command = [program, "--format=custom", f"--file={partial}", url.render_as_string()]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = done.stderr.strip().rpartition("\n")[2]
            raise StoreDamaged(f"pg_dump failed: {reason}")
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)
