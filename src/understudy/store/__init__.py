"""The store: the record chain in a database, and what enters and leaves it. Free of torch.

SQLAlchemy, half of a command's start-up time, is imported only when a store is opened.
"""

from typing import TYPE_CHECKING, Any

from understudy.store.project import Project, open_project

if TYPE_CHECKING:
    from understudy.store.repository import Store

__all__ = ["Project", "Store", "open_project"]


def __getattr__(name: str) -> Any:
    if name == "Store":
        from understudy.store.repository import Store

        return Store
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
