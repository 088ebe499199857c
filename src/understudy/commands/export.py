"""`understudy export demonstrations | rankings | ratings | feedback | prompts`."""

from dataclasses import dataclass, replace
from pathlib import Path

from tyro.conf import Positional

from understudy.records.schema import Split
from understudy.store.exports.files import Kind, Purpose, Selection, check_format, write_dataset
from understudy.store.exports.formats import SUFFIXES, Format
from understudy.store.project import open_project


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportConfig:
    """Write a frozen, hashed dataset from the store, for trainers to read."""

    kind: Positional[Kind]
    """demonstrations, rankings, ratings, feedback (users' thumbs) or prompts."""
    project: Path = Path()
    """The project's folder."""
    out: Path | None = None
    """The file, with its format's suffix; by default PROJECT/datasets/KIND-PURPOSE-SPLIT.jsonl."""
    format: Format = "jsonl"
    """jsonl for Understudy's trainers, csv for spreadsheets (it escapes formulas, which is lossy),
    the others for the programs of the same name (see docs/store.md)."""
    split: Split | None = None
    """Only prompts of this split: train, valid or test; by default every prompt that intake kept
    and every label."""
    purpose: Purpose = "training"
    """training (takes only training labelers' records) or evaluation (takes everybody's)."""
    labelers: tuple[str, ...] = ()
    """Only the records of these labelers, by name or id; by default those of every labeler whose
    role the purpose allows."""
    rubric: str | None = None
    """Only labels that followed this version of the instructions."""
    overwrite: bool = False
    """Replace the file `out`."""

    def __post_init__(self) -> None:
        check_format(self.kind, self.format, self.out)
        _ = self.selection

    @property
    def selection(self) -> Selection:
        """Which records to export; ValueError for settings that contradict each other."""
        return Selection(
            kind=self.kind,
            split=self.split,
            purpose=self.purpose,
            labelers=self.labelers,
            rubric=self.rubric,
        )


def export(config: ExportConfig) -> str:
    """Freeze, write and hash the dataset; returns a line with its id and its file."""
    from understudy.store.accounts.people import labeler_ids
    from understudy.store.exports.datasets import freeze

    project = open_project(config.project)
    store = project.open_store()
    name = "-".join(filter(None, (config.kind, config.purpose, config.split)))
    out = config.out or project.datasets / f"{name}{SUFFIXES[config.format]}"
    chosen = replace(config.selection, labelers=labeler_ids(store, config.labelers))
    dataset_id, number = freeze(store, chosen, project.folder)
    sha256 = write_dataset(store, project, dataset_id, out, overwrite=config.overwrite)
    return f"{out}: {number:,} {config.kind}, dataset {dataset_id}, sha256 {sha256}"
