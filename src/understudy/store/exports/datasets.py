"""Frozen datasets in the store: their records, and the files that hold them (see export.py)."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, Select, collate, func, insert, literal, null, select

from understudy.records import Feedback, Prompt
from understudy.records.schema import group_in
from understudy.store.adding import insert_new
from understudy.store.engine import is_sqlite, reading, writing
from understudy.store.exports.files import PAGE, Selection
from understudy.store.labels.records import current, label_query, labels_of
from understudy.store.repository import Store
from understudy.store.rows import Label, now, packed, prompt_of, thumb_of
from understudy.store.tables import (
    dataset_files,
    dataset_records,
    datasets,
    feedback,
    labelers,
    labels,
    prompts,
    responses,
)


def freeze(store: Store, selection: Selection, project: Path) -> tuple[str, int]:
    """Choose the records and list them in the store: (dataset id, number of records).

    ValueError says why there are none, with the command that helps in the folder `project`.
    """
    with writing(store.engine) as connection:
        _check_labelers(connection, selection)
        chosen = _chosen(connection, selection)
        digest, number = hashlib.sha256(packed(selection.to_json()).encode()), 0
        for found in connection.execute(chosen, execution_options={"yield_per": PAGE}):
            digest.update(packed(_named_by(found)).encode())
            number += 1
        if not number:
            raise ValueError(_why_empty(connection, selection, project))
        dataset_id = f"ds-{digest.hexdigest()[:16]}"
        known = select(datasets.c.id).where(datasets.c.id == dataset_id)
        if connection.execute(known).first() is None:
            row = {
                "id": dataset_id,
                "kind": selection.kind,
                "purpose": selection.purpose,
                "query": packed(selection.to_json()),
                "num_records": number,
                "created_at": now(),
            }
            connection.execute(datasets.insert(), row)
        _name_members(connection, dataset_id, number, selection.purpose, chosen)
    return dataset_id, number


def _named_by(found: Row[Any]) -> list[Any]:
    """The values of a record on which a dataset's name depends; of the prompt's tags only the
    group, which is exported with rankings."""
    values = dict(found._mapping)
    group = group_in(json.loads(values.pop("tags", "{}")))
    return [*values.values(), *([] if group is None else [group])]


def _why_empty(connection: Connection, selection: Selection, project: Path) -> str:
    """Why an export has no records, and what to do."""
    if selection.purpose == "training":
        everybody = replace(selection, purpose="evaluation")
        wider = _chosen(connection, everybody).order_by(None).subquery()
        left_out = connection.execute(select(func.count()).select_from(wider)).scalar_one()
        if left_out:
            return (
                f"none of the {left_out:,} {selection.kind} may be used in training: they are of "
                "test users, by held-out labelers, or of prompts that intake dropped; pass "
                "--purpose evaluation to export them for evaluation"
            )
    unsplit = select(func.count()).select_from(prompts).where(prompts.c.split.is_(None))
    waiting = unsplit.where(prompts.c.dropped_by.is_(None))
    needs_split = selection.kind in ("prompts", "feedback")
    if needs_split and connection.execute(waiting).scalar_one():
        build = f"understudy prompts build --project {project}"
        return f"no prompt has a split yet; run `{build}` first"
    said = f"the store has no {selection.kind} for {selection.purpose}"
    if selection.split is not None:
        said += f" in the split {selection.split}"
    if selection.labelers:
        said += f" by {', '.join(selection.labelers)}"
    return said if selection.rubric is None else f"{said} under the instructions {selection.rubric}"


def _name_members(
    connection: Connection, dataset_id: str, number: int, purpose: str, chosen: Select[Any]
) -> None:
    """List a dataset's records again if some are missing: records may have been deleted and added
    again since it was frozen."""
    members = dataset_records.c.dataset_id == dataset_id
    held = select(func.count()).select_from(dataset_records).where(members)
    if connection.execute(held).scalar_one() == number:
        return
    connection.execute(dataset_records.delete().where(members))
    found = chosen.order_by(None).subquery()
    names = ["dataset_id", "place", "purpose", "prompt_id", "label_id", "labeler_role"]
    names.append("feedback_id")
    rows = select(
        literal(dataset_id),
        func.row_number().over(order_by=_bytewise(connection, found.c.id)) - 1,
        literal(purpose),
        found.c.prompt_id,
        found.c.label_id,
        found.c.labeler_role,
        found.c.feedback_id if "feedback_id" in found.c else null(),
    )
    connection.execute(insert(dataset_records).from_select(names, rows))


def _chosen(connection: Connection, selection: Selection) -> Select[Any]:
    """Selects id, prompt_id, label_id, labeler_role and the mutable columns."""
    if selection.kind == "prompts":
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
    elif selection.kind == "feedback":
        query, key = _thumbs()
        if selection.purpose == "training":
            query = query.where(prompts.c.split != "test")
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
            .where(labels.c.kind == selection.kind.removesuffix("s"))
        )
        key = labels.c.id
        if selection.kind == "rankings":
            query = query.add_columns(prompts.c.tags)
        if selection.labelers:
            query = query.where(labels.c.labeler_id.in_(selection.labelers))
        elif selection.purpose == "training":
            query = query.where(labels.c.labeler_role == "training")
        if selection.rubric is not None:
            query = query.where(labels.c.rubric == selection.rubric)
        if selection.purpose == "training":
            # Test users' prompts stay out of training, whoever labeled them, and so do prompts that
            # intake dropped after they were labeled.
            query = query.where(prompts.c.split.is_(None) | (prompts.c.split != "test"))
            query = query.where(prompts.c.dropped_by.is_(None))
    if selection.split is not None:
        query = query.where(prompts.c.split == selection.split)
    elif selection.kind == "prompts" and selection.purpose == "training":
        query = query.where(prompts.c.split != "test")
    return query.order_by(_bytewise(connection, key))


def _thumbs() -> tuple[Select[Any], Any]:
    """The newest thumb of every response to a prompt that intake has kept, and its id."""
    newest = (feedback.c.created_at.desc(), feedback.c.id.desc())
    given = (
        select(
            feedback,
            func.row_number().over(partition_by=feedback.c.response_id, order_by=newest).label("n"),
        )
        .where(feedback.c.kind == "thumb")
        .subquery()
    )
    query = (
        select(
            given.c.id,
            given.c.prompt_id,
            null().label("label_id"),
            null().label("labeler_role"),
            given.c.id.label("feedback_id"),
            given.c.value,
            prompts.c.split,
            prompts.c.body,
        )
        .join(prompts, prompts.c.id == given.c.prompt_id)
        .where(given.c.n == 1, prompts.c.split.is_not(None), prompts.c.dropped_by.is_(None))
    )
    return query, given.c.id


def _bytewise(connection: Connection, column: Any) -> Any:
    """The column in byte order on both backends: PostgreSQL sorts by locale by default."""
    return column if is_sqlite(connection) else collate(column, "C")


def _check_labelers(connection: Connection, selection: Selection) -> None:
    query = select(labelers.c.id, labelers.c.role).where(labelers.c.id.in_(selection.labelers))
    roles = {row.id: row.role for row in connection.execute(query)}
    for name in selection.labelers:
        if name not in roles:
            raise ValueError(f"labeler {name!r} is not in the store")
        if selection.purpose == "training" and roles[name] != "training":
            raise ValueError(
                f"labeler {name!r} is {roles[name]}: a training export never takes these records; "
                "pass --purpose evaluation"
            )


def dataset_members(
    store: Store, dataset_id: str, skip: int = 0
) -> Iterator[Prompt | Label | Feedback]:
    """The records of a frozen dataset, from number `skip` on."""
    kind = kind_of(store, dataset_id)
    joined: Select[Any] = label_query()
    key = labels.c.id == dataset_records.c.label_id
    if kind == "prompts":
        joined, key = select(prompts), prompts.c.id == dataset_records.c.prompt_id
    elif kind == "feedback":
        joined = (
            select(
                feedback, prompts.c.body, prompts.c.split, prompts.c.user_id, responses.c.response
            )
            .join(prompts, prompts.c.id == feedback.c.prompt_id)
            .join(responses, responses.c.id == feedback.c.response_id)
        )
        key = feedback.c.id == dataset_records.c.feedback_id
    members = dataset_records.c.dataset_id == dataset_id
    query = joined.add_columns(dataset_records.c.place).join(dataset_records, key).where(members)
    last = -1
    while True:
        page = query.where(dataset_records.c.place > last).order_by(dataset_records.c.place)
        with reading(store.engine) as connection:
            rows = list(connection.execute(page.limit(PAGE)).mappings())
            found: list[Prompt | Label | Feedback]
            if kind == "prompts":
                found = [prompt_of(row) for row in rows]
            elif kind == "feedback":
                found = [thumb_of(row) for row in rows]
            else:
                found = list(labels_of(connection, rows))
        if not rows:
            return
        last = rows[-1]["place"]
        yield from found[skip:]
        skip = max(0, skip - len(found))


def kind_of(store: Store, dataset_id: str) -> str:
    """demonstrations, rankings, ratings, feedback or prompts."""
    query = select(datasets.c.kind).where(datasets.c.id == dataset_id)
    with reading(store.engine) as connection:
        return str(connection.execute(query).scalar_one())


def note_file(store: Store, dataset_id: str, path: str, sha256: str) -> None:
    """Record that this file, with this content, is this dataset and no other."""
    with writing(store.engine) as connection:
        older = dataset_files.c.path == path
        connection.execute(dataset_files.update().where(older).values(current=False))
        row = {"dataset_id": dataset_id, "path": path, "sha256": sha256, "current": True}
        insert_new(connection, dataset_files, [row])
        same = older & (dataset_files.c.sha256 == sha256)
        same &= dataset_files.c.dataset_id == dataset_id
        connection.execute(dataset_files.update().where(same).values(current=True))
