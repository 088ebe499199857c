"""Datasets: `understudy export demonstrations | rankings | ratings | prompts`.

A dataset is frozen before it is written: one transaction chooses its records, orders them by id and
lists them in the store. Its name is a hash of the query and its result, so the same query on
unchanged records gives the same dataset and the same bytes. Writing streams from that list, and an
interrupted export resumes where it stopped.

For training, only training labelers' records are chosen, and the database refuses any others (see
tables.py). `purpose="evaluation"` takes everybody's.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Select, collate, func, insert, literal, null, select
from tyro.conf import Positional

from understudy.records import Demonstration, Prompt, Ranking, Rating
from understudy.records.schema import Split
from understudy.store.engine import is_sqlite, reading, writing
from understudy.store.formats import SUFFIXES, Format, format_of, lines_of
from understudy.store.project import Project, open_project
from understudy.store.repository import (
    Store,
    current,
    insert_new,
    label_query,
    labels_of,
)
from understudy.store.rows import Label, now, packed, prompt_of
from understudy.store.spreadsheet import csv_lines
from understudy.store.tables import (
    dataset_files,
    dataset_records,
    datasets,
    labelers,
    labels,
    prompts,
)

Kind = Literal["demonstrations", "rankings", "ratings", "prompts"]
Purpose = Literal["training", "evaluation"]
RECORDS: dict[str, Any] = {
    "demonstrations": Demonstration,
    "rankings": Ranking,
    "ratings": Rating,
    "prompts": Prompt,
}
PAGE = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportConfig:
    """Write a frozen, hashed dataset from the store, for trainers to read."""

    kind: Positional[Kind]
    """demonstrations, rankings, ratings or prompts."""
    project: Path = Path()
    """The project's folder."""
    out: Path | None = None
    """The file, with its format's suffix; by default PROJECT/datasets/KIND-PURPOSE-SPLIT.jsonl."""
    format: Format = "jsonl"
    """jsonl for the trainers here, csv for spreadsheets (it escapes formulas, which is lossy), the
    others for the programs of that name (see docs/store.md)."""
    split: Split | None = None
    """Only prompts of this split: train, valid or test; by default every prompt that intake kept
    and every label."""
    purpose: Purpose = "training"
    """training (only training labelers' records, refused otherwise) or evaluation (everybody's)."""
    labelers: tuple[str, ...] = ()
    """Only these labelers' records; by default those of every labeler whose role the purpose
    allows."""
    rubric: str | None = None
    """Only labels that followed this version of the instructions."""
    overwrite: bool = False
    """Replace the file `out`."""

    def __post_init__(self) -> None:
        if self.kind == "prompts" and (self.labelers or self.rubric):
            raise ValueError("prompts have no labelers or rubric; leave out --labelers, --rubric")
        suffix = SUFFIXES[self.format]
        if self.out is not None and not self.out.name.endswith(suffix):
            raise ValueError(f"{self.out} must end in {suffix} (--format {self.format})")
        if self.out is not None and format_of(self.out) != self.format:
            raise ValueError(f"{self.out} has the suffix of --format {format_of(self.out)}")
        if self.kind in ("prompts", "ratings") and self.format not in ("jsonl", "csv"):
            raise ValueError(f"{self.format} does not support {self.kind}; use jsonl or csv")
        if self.purpose == "training" and self.split == "test":
            raise ValueError("the test split is for evaluation; pass --purpose evaluation")

    @property
    def query(self) -> dict[str, Any]:
        """The settings that decide which records it holds."""
        return {
            "kind": self.kind,
            "split": self.split,
            "purpose": self.purpose,
            "labelers": sorted(self.labelers),
            "rubric": self.rubric,
        }


def export(config: ExportConfig) -> str:
    """Freeze, write and hash; returns a line that says what and where."""
    project = open_project(config.project)
    store = project.open_store()
    name = "-".join(filter(None, (config.kind, config.purpose, config.split)))
    out = config.out or project.datasets / f"{name}{SUFFIXES[config.format]}"
    dataset_id, number = freeze(store, config)
    sha256 = write_dataset(store, project, dataset_id, out, overwrite=config.overwrite)
    return f"{out}: {number:,} {config.kind}, dataset {dataset_id}, sha256 {sha256}"


def freeze(store: Store, config: ExportConfig) -> tuple[str, int]:
    """Choose the records and list them in the store: (dataset id, number of records)."""
    with writing(store.engine) as connection:
        _check_labelers(connection, config)
        chosen = _chosen(connection, config)
        digest, number = hashlib.sha256(packed(config.query).encode()), 0
        for found in connection.execute(chosen, execution_options={"yield_per": PAGE}):
            digest.update(packed(list(found)).encode())
            number += 1
        if not number:
            raise ValueError(f"the store has no {config.kind} for {packed(config.query)}")
        dataset_id = f"ds-{digest.hexdigest()[:16]}"
        known = select(datasets.c.id).where(datasets.c.id == dataset_id)
        if connection.execute(known).first() is None:
            row = {
                "id": dataset_id,
                "kind": config.kind,
                "purpose": config.purpose,
                "query": packed(config.query),
                "num_records": number,
                "created_at": now(),
            }
            connection.execute(datasets.insert(), row)
        _name_members(connection, dataset_id, number, config.purpose, chosen)
    return dataset_id, number


def _name_members(
    connection: Connection, dataset_id: str, number: int, purpose: str, chosen: Select[Any]
) -> None:
    """List a dataset's records where the list lacks them: records may have been deleted and added
    again since it was frozen."""
    members = dataset_records.c.dataset_id == dataset_id
    held = select(func.count()).select_from(dataset_records).where(members)
    if connection.execute(held).scalar_one() == number:
        return
    connection.execute(dataset_records.delete().where(members))
    found = chosen.order_by(None).subquery()
    names = ["dataset_id", "place", "purpose", "prompt_id", "label_id", "labeler_role"]
    rows = select(
        literal(dataset_id),
        func.row_number().over(order_by=_bytewise(connection, found.c.id)) - 1,
        literal(purpose),
        found.c.prompt_id,
        found.c.label_id,
        found.c.labeler_role,
    )
    connection.execute(insert(dataset_records).from_select(names, rows))


def _chosen(connection: Connection, config: ExportConfig) -> Select[Any]:
    """Selects id, prompt_id, label_id, labeler_role and the mutable columns."""
    if config.kind == "prompts":
        query = select(
            prompts.c.id,
            prompts.c.id.label("prompt_id"),
            null().label("label_id"),
            null().label("labeler_role"),
            prompts.c.split,
            prompts.c.use_case,
            prompts.c.body,
        ).where(prompts.c.split.is_not(None))
        key = prompts.c.id
    else:
        query = current(
            select(
                labels.c.id,
                labels.c.prompt_id,
                labels.c.id.label("label_id"),
                labels.c.labeler_role,
                prompts.c.split,
                prompts.c.body,
            )
            .join(prompts, prompts.c.id == labels.c.prompt_id)
            .where(labels.c.kind == config.kind.removesuffix("s"))
        )
        key = labels.c.id
        if config.labelers:
            query = query.where(labels.c.labeler_id.in_(config.labelers))
        elif config.purpose == "training":
            query = query.where(labels.c.labeler_role == "training")
        if config.rubric is not None:
            query = query.where(labels.c.rubric == config.rubric)
        if config.purpose == "training":
            # Test users' prompts stay out of training, whoever labeled them, and so do prompts that
            # intake dropped after they were labeled.
            query = query.where(prompts.c.split.is_(None) | (prompts.c.split != "test"))
            query = query.where(prompts.c.dropped_by.is_(None))
    if config.split is not None:
        query = query.where(prompts.c.split == config.split)
    elif config.kind == "prompts" and config.purpose == "training":
        query = query.where(prompts.c.split != "test")
    return query.order_by(_bytewise(connection, key))


def _bytewise(connection: Connection, column: Any) -> Any:
    """The column in byte order on both backends: PostgreSQL sorts by locale by default."""
    return column if is_sqlite(connection) else collate(column, "C")


def _check_labelers(connection: Connection, config: ExportConfig) -> None:
    query = select(labelers.c.id, labelers.c.role).where(labelers.c.id.in_(config.labelers))
    roles = {row.id: row.role for row in connection.execute(query)}
    for name in config.labelers:
        if name not in roles:
            raise ValueError(f"labeler {name!r} is not in the store")
        if config.purpose == "training" and roles[name] != "training":
            raise ValueError(
                f"labeler {name!r} is {roles[name]}: a training export never takes these records; "
                "pass --purpose evaluation"
            )


def write_dataset(
    store: Store,
    project: Project,
    dataset_id: str,
    out: Path,
    *,
    overwrite: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> str:
    """Write a frozen dataset to a file atomically; returns its sha256.

    An interrupted write leaves `.NAME.DATASET.partial`, from which the next one resumes (other
    programs' formats, where records are not lines, start over). `progress` gets the number of rows
    written from time to time.
    """
    if out.exists() and not overwrite:
        raise ValueError(f"{out} exists; pass --overwrite or choose another --out")
    out.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{dataset_id}.partial")
    form = format_of(out)
    if form != "jsonl":
        partial.unlink(missing_ok=True)
    done, digest = _whole_lines(partial)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as stream:
        lines = _lines(store, dataset_id, form, skip=done)
        for number, line in enumerate(lines, start=done + 1):
            stream.write(line)
            digest.update(line)
            if number % PAGE == 0:
                progress(number)
        stream.flush()
        os.fsync(stream.fileno())
    sha256 = str(digest.hexdigest())
    _note_file(store, project, dataset_id, out, sha256)
    os.replace(partial, out)
    return sha256


def _lines(store: Store, dataset_id: str, form: str, skip: int) -> Iterator[bytes]:
    """The lines of a dataset's file."""
    if form not in ("jsonl", "csv"):
        yield from lines_of(form, dataset_members(store, dataset_id))
        return
    if form == "csv":
        with reading(store.engine) as connection:
            kind = _kind_of(connection, dataset_id)
        yield from csv_lines(RECORDS[kind], dataset_members(store, dataset_id))
        return
    for record in dataset_members(store, dataset_id, skip):
        text = json.dumps(record.to_json(), ensure_ascii=False, sort_keys=True)
        yield (text + "\n").encode()


def dataset_members(store: Store, dataset_id: str, skip: int = 0) -> Iterator[Prompt | Label]:
    """The records of a frozen dataset, from number `skip` on."""
    with reading(store.engine) as connection:
        kind = _kind_of(connection, dataset_id)
    joined, key = (
        (select(prompts), prompts.c.id == dataset_records.c.prompt_id)
        if kind == "prompts"
        else (label_query(), labels.c.id == dataset_records.c.label_id)
    )
    members = dataset_records.c.dataset_id == dataset_id
    query = joined.add_columns(dataset_records.c.place).join(dataset_records, key).where(members)
    last = -1
    while True:
        page = query.where(dataset_records.c.place > last).order_by(dataset_records.c.place)
        with reading(store.engine) as connection:
            rows = list(connection.execute(page.limit(PAGE)).mappings())
            found: list[Prompt | Label] = (
                [prompt_of(row) for row in rows]
                if kind == "prompts"
                else list(labels_of(connection, rows))
            )
        if not rows:
            return
        last = rows[-1]["place"]
        yield from found[skip:]
        skip = max(0, skip - len(found))


def _kind_of(connection: Connection, dataset_id: str) -> str:
    query = select(datasets.c.kind).where(datasets.c.id == dataset_id)
    return str(connection.execute(query).scalar_one())


def _whole_lines(partial: Path) -> tuple[int, Any]:
    """The number of rows that an interrupted write left, and their hash; cuts off a partial row."""
    digest = hashlib.sha256()
    if not partial.exists():
        return 0, digest
    done, size = 0, 0
    with partial.open("rb") as stream:
        for line in stream:
            if not line.endswith(b"\n"):
                break
            digest.update(line)
            done, size = done + 1, size + len(line)
    os.truncate(partial, size)
    return done, digest


def _note_file(store: Store, project: Project, dataset_id: str, out: Path, sha256: str) -> None:
    """Record that this file, with this content, is this dataset and no other."""
    path = stored_path(project, out)
    with writing(store.engine) as connection:
        older = dataset_files.c.path == path
        connection.execute(dataset_files.update().where(older).values(current=False))
        row = {"dataset_id": dataset_id, "path": path, "sha256": sha256, "current": True}
        insert_new(connection, dataset_files, [row])
        same = older & (dataset_files.c.sha256 == sha256)
        same &= dataset_files.c.dataset_id == dataset_id
        connection.execute(dataset_files.update().where(same).values(current=True))


def stored_path(project: Project, path: Path) -> str:
    """A path as the store records it: relative to the project's folder if inside it."""
    whole, folder = path.resolve(), project.folder.resolve()
    return str(whole.relative_to(folder) if whole.is_relative_to(folder) else whole)
