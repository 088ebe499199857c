"""`understudy new`: an empty project, or one with sample data to try the pages on."""

from dataclasses import dataclass

from understudy.store import open_project
from understudy.store import project as store_project


@dataclass(frozen=True, kw_only=True, slots=True)
class NewConfig(store_project.NewConfig):
    """Make a project: a folder with project.toml and a store."""

    sample_data: bool = False
    """Put everyday prompts, responses, gold items and a made-up team's labels into it, and print a
    link with which its owner signs in: for trying the pages. Needs the extra `label`."""


def new_project(config: NewConfig) -> str:
    """Make it; ValueError where there is a project, or a store, already."""
    if not config.sample_data:
        return store_project.new_project(config)
    from understudy.labeling.sample import fill_project  # before anything is made: needs extras

    store_project.new_project(config)
    return fill_project(open_project(config.folder))
