"""`understudy new`: an empty project, or one with sample data to try the pages on."""

from dataclasses import dataclass

from understudy.store import open_project
from understudy.store import project as store_project


@dataclass(frozen=True, kw_only=True, slots=True)
class NewConfig(store_project.NewConfig):
    """Make a project: a folder with project.toml and a store."""

    sample_data: bool = False
    """Add everyday prompts, responses, gold items and a made-up team's labels, and print the
    owner's sign-in link, to try out the pages. Needs the extra `label`."""


def new_project(config: NewConfig) -> str:
    """Make it; ValueError if there already is a project or a store."""
    if not config.sample_data:
        return store_project.new_project(config)
    from understudy.labeling.sample import fill_project  # before anything is created: needs extras

    store_project.new_project(config)
    return fill_project(open_project(config.folder))
