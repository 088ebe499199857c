"""The demo's folder as a project: users' prompts enter its store, datasets leave it.

Several stages add to the store, so it is not an artifact. Each stage writes its outputs to its own
folder as a frozen export, and first removes what an earlier run of itself added. A world with other
prompts gets a new store; `project.json`, an output of the stage `prompts`, identifies it, so that
every stage that adds to it runs again.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import ColumnElement, select

from understudy.commands.export import ExportConfig, export
from understudy.commands.new import NewConfig, new_project
from understudy.loop.stage_call import StageCall
from understudy.records import LabelerInfo, Response, file_hash, sha256_of
from understudy.records.schema import Split
from understudy.store import Project, Store, open_project
from understudy.store.engine import writing
from understudy.store.exports.files import Kind, Purpose
from understudy.store.project import FILE
from understudy.store.rows import Label
from understudy.store.tables import labelers, labels, prompts, responses
from understudy.world.judge import WEIGHTS
from understudy.world.labelers import FINAL_FACTORS, FINAL_RUBRIC, RUBRIC

MADE_OF = ".store-of"
"""File in the project's folder: the hash of the prompts that the store was made for."""
STORE_FILES = (FILE, "store.sqlite", "store.sqlite-wal", "store.sqlite-shm")


def project_of(call: StageCall, raw: Path, split_key: str) -> Project:
    """The demo's project for these raw prompts; replaces a store that was made for others.

    Its id goes to `project.json`.
    """
    name = sha256_of([file_hash(raw), split_key])
    note = call.root / MADE_OF
    if not note.is_file() or note.read_text() != name or not (call.root / FILE).is_file():
        note.unlink(missing_ok=True)
        for old in STORE_FILES:
            (call.root / old).unlink(missing_ok=True)
        new_project(NewConfig(folder=call.root, split_key=split_key))
        note.write_text(name)
    (call.out / "project.json").write_text(json.dumps({"made_of": name}))
    return open_project(call.root)


def store_of(call: StageCall) -> Store:
    """The demo's store."""
    return open_project(call.root).open_store()


def put_labelers(store: Store, people: Iterable[LabelerInfo]) -> None:
    """Replace the store's labelers and the instructions that they follow."""
    people = list(people)
    store.add_rubric(RUBRIC, "What the gold judge counts, the heaviest first.", list(WEIGHTS))
    first = sorted(WEIGHTS, key=lambda part: part not in FINAL_FACTORS)
    store.add_rubric(FINAL_RUBRIC, "Truthful and harmless first (the paper's B.2).", first)
    if sorted(store.labelers(), key=lambda one: one.id) == sorted(people, key=lambda one: one.id):
        return
    with writing(store.engine) as connection:
        connection.execute(labels.delete())
        connection.execute(labelers.delete())
    store.add_labelers(people)


def put_labels(
    store: Store,
    kind: str,
    new: Iterable[Label],
    about: Iterable[Response] = (),
    where: ColumnElement[bool] | None = None,
) -> None:
    """Replace the labels of one kind, and the responses that they label.

    `where` selects those responses, in terms of the tables `responses` and `prompts`.
    """
    with writing(store.engine) as connection:
        old = select(responses.c.id).join(prompts)
        mine = old.where(where) if where is not None else old.where(responses.c.id.is_(None))
        of_kind = labels.c.kind == kind
        if kind == "rating":
            of_kind &= labels.c.response_id.in_(mine)
        connection.execute(labels.delete().where(of_kind))
        connection.execute(responses.delete().where(responses.c.id.in_(mine)))
    store.add_responses(about)
    store.add_labels(new)


def export_to(
    call: StageCall, name: str, kind: Kind, split: Split, purpose: Purpose = "training"
) -> None:
    """Freeze a dataset and write it to the stage's folder."""
    out = call.out / name
    query = ExportConfig(
        kind=kind, project=call.root, split=split, purpose=purpose, out=out, overwrite=True
    )
    export(query)
