"""Where a model comes from, by the hashes that its runs recorded.

A run folder records which files it read (run.json: path and sha256) and which runs they came from.
A file's hash leads to the dataset that the store froze, and so to labelers, prompts and users.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from understudy.store.engine import reading
from understudy.store.repository import Store
from understudy.store.tables import dataset_files, dataset_records, datasets, labels, prompts

SHOWN = 20
"""Ids that a line lists before it counts the rest."""


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """A dataset's present contents."""

    id: str
    """Its id."""
    line: str
    """Kind, purpose and size in a line."""
    labelers: tuple[str, ...]
    """Ids of the labelers."""
    prompts: tuple[str, ...]
    """Ids of the prompts."""
    users: tuple[str, ...]
    """Ids of the users."""


def lineage(store: Store, model: Path) -> str:
    """The tree of runs and data behind a model, as text; ValueError if the model is not in a run
    folder."""
    run = owner_of(model)
    if run is None:
        raise ValueError(
            f"{model} is not in a run folder (no run.json there or above); give the folder "
            "that `understudy sft`, `reward` or `ppo` wrote"
        )
    return "\n".join(_tree(store, run, "", set()))


def owner_of(path: Path) -> Path | None:
    """The run folder that a path is in."""
    path = path.resolve()
    return next((p for p in (path, *path.parents) if (p / "run.json").is_file()), None)


def run_record(run: Path) -> dict[str, Any]:
    """run.json of a run folder."""
    try:
        record: dict[str, Any] = json.loads((run / "run.json").read_text(encoding="utf-8"))
    except ValueError:
        raise ValueError(f"{run / 'run.json'} is not valid JSON") from None
    return record


def _tree(store: Store, run: Path, indent: str, above: set[Path]) -> Iterator[str]:
    record = run_record(run)
    facts = f"stage {record.get('stage')}, code {record.get('code_version')}"
    yield f"{indent}run {run} ({facts}, seed {record.get('seed')})"
    parents = {name: Path(path) for name, path in record.get("parents", {}).items()}
    for name, source in sorted(record.get("inputs", {}).items()):
        if "packed_from" in source:
            yield f"{indent}  {name}: {source.get('path')}, packed from"
            for number, file in enumerate(source["packed_from"], start=1):
                yield from _source(store, f"{name} {number}", file, indent + "  ")
        elif (
            name in parents
            and (parents[name] / "run.json").is_file()
            and dataset_of(store, source.get("sha256")) is None
        ):
            yield f"{indent}  {name}: {source.get('path')}, from"
            if parents[name] in above:
                yield f"{indent}    run {parents[name]} (above)"
            else:
                yield from _tree(store, parents[name], indent + "    ", {*above, run})
        else:
            yield from _source(store, name, source, indent)


def _source(store: Store, name: str, source: dict[str, Any], indent: str) -> Iterator[str]:
    found = dataset_of(store, source.get("sha256"))
    if found is None:
        yield f"{indent}  {name}: {source.get('path')} (not from this store)"
        return
    yield f"{indent}  {name}: dataset {found.line}"
    yield f"{indent}    labelers: {_listed(found.labelers)}"
    yield f"{indent}    prompts: {_listed(found.prompts)}"
    yield f"{indent}    users: {_listed(found.users)}"


def dataset_of(store: Store, sha256: str | None) -> DatasetFacts | None:
    """The dataset whose file has this hash, or had it before a user was forgotten."""

    if sha256 is None:
        return None
    query = select(dataset_files.c.dataset_id).where(dataset_files.c.sha256 == sha256)
    with reading(store.engine) as connection:
        found = connection.execute(query.order_by(dataset_files.c.dataset_id)).scalar()
        return None if found is None else _facts(connection, found)


def _facts(connection: Connection, dataset_id: str) -> DatasetFacts:

    head = select(datasets).where(datasets.c.id == dataset_id)
    row = connection.execute(head).mappings().one()
    members = dataset_records.c.dataset_id == dataset_id
    now = connection.execute(
        select(func.count()).select_from(dataset_records).where(members)
    ).scalar_one()
    gone = row["num_records"] - now
    line = f"{dataset_id}, {now:,} {row['kind']} for {row['purpose']}, frozen {row['created_at']}"
    if gone:
        line += f", {gone:,} forgotten since"
    who = select(labels.c.labeler_id, labels.c.labeler_role).join(
        dataset_records, labels.c.id == dataset_records.c.label_id
    )
    found = sorted({f"{name} ({role})" for name, role in connection.execute(who.where(members))})
    asked = select(prompts.c.id, prompts.c.user_id).join(
        dataset_records, prompts.c.id == dataset_records.c.prompt_id
    )
    pairs = list(connection.execute(asked.where(members)))
    return DatasetFacts(
        id=dataset_id,
        line=line,
        labelers=tuple(found),
        prompts=tuple(sorted({pair[0] for pair in pairs})),
        users=tuple(sorted({pair[1] for pair in pairs})),
    )


def _listed(names: tuple[str, ...]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return f"{len(names):,}: {', '.join(names[:SHOWN])}{more}"


def models_that_used(folder: Path, hashes: set[str]) -> list[Path]:
    """Run folders below `folder` that read a file with one of these hashes, directly or through
    other runs."""
    records = {path.parent.resolve(): run_record(path.parent) for path in folder.rglob("run.json")}
    used = {
        run
        for run, record in records.items()
        if any(
            file.get("sha256") in hashes
            for source in record.get("inputs", {}).values()
            for file in (source, *source.get("packed_from", ()))
        )
    }
    while True:
        later = {
            run
            for run, record in records.items()
            if used & {Path(path).resolve() for path in record.get("parents", {}).values()}
        }
        if later <= used:
            return sorted(used)
        used |= later
