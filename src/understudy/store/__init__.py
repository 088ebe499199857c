"""The store: the record chain in a database, and what enters and leaves it. Free of torch."""

from understudy.store.project import Project, open_project
from understudy.store.repository import Store

__all__ = ["Project", "Store", "open_project"]
