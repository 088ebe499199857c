"""The store: the record chain in a database, and what enters and leaves it. Free of torch."""

import understudy.store.labeling_tables  # noqa: F401 - the metadata is whole from here on
from understudy.store.project import Project, open_project
from understudy.store.repository import Store

__all__ = ["Project", "Store", "open_project"]
