"""`understudy lineage MODEL`: where a model comes from."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from understudy.store.project import open_project


@dataclass(frozen=True, kw_only=True, slots=True)
class LineageConfig:
    """Trace a model to its runs, datasets, labelers, prompts and users."""

    model: Positional[Path]
    """A run folder, or the model folder in one."""
    project: Path = Path()
    """The project's folder."""


def show_lineage(config: LineageConfig) -> str:
    """The tree as text; ValueError if the model is not in a run folder."""
    from understudy.store.lineage import lineage

    return lineage(open_project(config.project).open_store(), config.model)
