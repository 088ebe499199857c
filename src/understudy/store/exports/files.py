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
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from understudy.records import Demonstration, Prompt, Ranking, Rating
from understudy.records.schema import Split
from understudy.store.exports.formats import SUFFIXES, Format, format_of, lines_of
from understudy.store.exports.spreadsheet import csv_lines
from understudy.store.project import Project, open_project

if TYPE_CHECKING:
    from understudy.store.repository import Store

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
    from understudy.store.exports.datasets import freeze

    project = open_project(config.project)
    store = project.open_store()
    name = "-".join(filter(None, (config.kind, config.purpose, config.split)))
    out = config.out or project.datasets / f"{name}{SUFFIXES[config.format]}"
    dataset_id, number = freeze(store, config)
    sha256 = write_dataset(store, project, dataset_id, out, overwrite=config.overwrite)
    return f"{out}: {number:,} {config.kind}, dataset {dataset_id}, sha256 {sha256}"


def write_dataset(
    store: "Store",
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
    from understudy.store.exports.datasets import note_file

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
    note_file(store, dataset_id, stored_path(project, out), sha256)
    os.replace(partial, out)
    return sha256


def _lines(store: "Store", dataset_id: str, form: str, skip: int) -> Iterator[bytes]:
    """The lines of a dataset's file."""
    from understudy.store.exports.datasets import dataset_members, kind_of

    if form not in ("jsonl", "csv"):
        yield from lines_of(form, dataset_members(store, dataset_id))
        return
    if form == "csv":
        kind = kind_of(store, dataset_id)
        yield from csv_lines(RECORDS[kind], dataset_members(store, dataset_id))
        return
    for record in dataset_members(store, dataset_id, skip):
        text = json.dumps(record.to_json(), ensure_ascii=False, sort_keys=True)
        yield (text + "\n").encode()


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


def stored_path(project: Project, path: Path) -> str:
    """A path as the store records it: relative to the project's folder if inside it."""
    whole, folder = path.resolve(), project.folder.resolve()
    return str(whole.relative_to(folder) if whole.is_relative_to(folder) else whole)
