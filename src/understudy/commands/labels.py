"""`understudy labels add | rubric`: labelers, labels and instructions from files."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from understudy.records import (
    EVALUATION_PRIORITIES,
    Demonstration,
    LabelerInfo,
    Ranking,
    Rating,
    Response,
    iter_records,
)
from understudy.store.project import open_project

if TYPE_CHECKING:
    from understudy.store.adding import Added


@dataclass(frozen=True, kw_only=True, slots=True)
class AddLabelsConfig:
    """Add labelers, responses and labels from files of records to the store."""

    project: Path = Path()
    """The project's folder."""
    labelers: Path | None = None
    """Labelers, .jsonl or .parquet; a labeler's role never changes."""
    responses: Path | None = None
    """Responses that were not sampled into the store."""
    demonstrations: Path | None = None
    """Demonstrations; their prompts and labelers must be in the store."""
    rankings: Path | None = None
    """Rankings; their prompts and labelers must be in the store."""
    ratings: Path | None = None
    """Ratings; their prompts, labelers and responses must be in the store."""


def add_labels(config: AddLabelsConfig) -> str:
    """Add the records in order of dependency; returns a line per kind."""
    store = open_project(config.project).open_store()
    added: dict[str, Added] = {}
    if config.labelers is not None:
        added["labelers"] = store.add_labelers(iter_records(config.labelers, LabelerInfo))
    if config.responses is not None:
        added["responses"] = store.add_responses(iter_records(config.responses, Response))
    if config.demonstrations is not None:
        records = iter_records(config.demonstrations, Demonstration)
        added["demonstrations"] = store.add_labels(records)
    if config.rankings is not None:
        added["rankings"] = store.add_labels(iter_records(config.rankings, Ranking))
    if config.ratings is not None:
        added["ratings"] = store.add_labels(iter_records(config.ratings, Rating))
    if not added:
        raise ValueError("name at least one file: --labelers, --demonstrations, --rankings ...")
    return "\n".join(f"{name}: {one.new:,} new, {one.known:,} known" for name, one in added.items())


@dataclass(frozen=True, kw_only=True, slots=True)
class RubricConfig:
    """Add a version of the labelers' instructions; a version never changes."""

    version: Positional[str]
    """Name of the version, which labels record."""
    instructions: Path
    """Text file with the instructions."""
    priorities: tuple[str, ...]
    """Priorities when labeling to train, most important first, like helpful truthful harmless
    (B.2)."""
    evaluation_priorities: tuple[str, ...] = EVALUATION_PRIORITIES
    """Priorities when labeling to evaluate, most important first (B.2)."""
    project: Path = Path()
    """The project's folder."""


def add_rubric(config: RubricConfig) -> str:
    """Add the version."""
    from understudy.store.rubrics import check_rubric

    try:
        text = config.instructions.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{config.instructions} is not UTF-8 text") from None
    check_rubric(config.version, text, config.priorities, config.evaluation_priorities)
    store = open_project(config.project).open_store()
    added = store.add_rubric(config.version, text, config.priorities, config.evaluation_priorities)
    return f"rubric {config.version}: {'added' if added.new else 'known'}"
