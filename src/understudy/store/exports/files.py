"""The files of frozen datasets.

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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from understudy.records import Demonstration, Feedback, Prompt, Ranking, Rating
from understudy.records.schema import Split
from understudy.store.exports.formats import SUFFIXES, format_of, lines_of
from understudy.store.exports.spreadsheet import csv_lines
from understudy.store.project import Project

if TYPE_CHECKING:
    from understudy.store.repository import Store

Kind = Literal["demonstrations", "rankings", "ratings", "feedback", "prompts"]
Purpose = Literal["training", "evaluation"]
RECORDS: dict[str, Any] = {
    "demonstrations": Demonstration,
    "rankings": Ranking,
    "ratings": Rating,
    "feedback": Feedback,
    "prompts": Prompt,
}
PAGE = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The settings that decide which records a dataset holds."""

    kind: Kind
    """demonstrations, rankings, ratings, feedback or prompts."""
    split: Split | None = None
    """Only prompts of this split; None for every prompt that intake kept and every label."""
    purpose: Purpose = "training"
    """training (only training labelers' records, refused otherwise) or evaluation (everybody's)."""
    labelers: tuple[str, ...] = ()
    """Only these labelers' records; empty for those of every labeler with a suitable role."""
    rubric: str | None = None
    """Only labels that followed this version of the instructions."""

    def __post_init__(self) -> None:
        if self.kind in ("prompts", "feedback") and (self.labelers or self.rubric):
            raise ValueError(
                f"{self.kind}: labelers and rubric do not apply, since users send them; leave out "
                "--labelers and --rubric"
            )
        if self.purpose == "training" and self.split == "test":
            raise ValueError("the test split is for evaluation; pass --purpose evaluation")

    def to_json(self) -> dict[str, Any]:
        """The selection as the store keeps it."""
        return {**asdict(self), "labelers": sorted(self.labelers)}


def check_format(kind: str, form: str, out: Path | None = None) -> None:
    """ValueError unless records of this kind can be written in a format, and to this file."""
    suffix = SUFFIXES[form]
    if out is not None and not out.name.endswith(suffix):
        raise ValueError(f"{out} must end in {suffix} (--format {form})")
    if out is not None and format_of(out) != form:
        raise ValueError(f"{out} has the suffix of --format {format_of(out)}")
    others: dict[str, tuple[str, ...]] = {"prompts": ("jsonl", "csv"), "ratings": ("jsonl", "csv")}
    others["feedback"] = ("jsonl", "csv", "trl")
    if kind in others and form not in others[kind]:
        *some, last = others[kind]
        raise ValueError(f"{form} does not support {kind}; use {', '.join(some)} or {last}")


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
