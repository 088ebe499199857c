"""The owner's settings from the browser: a few values by name."""

import json
from typing import Any

from sqlalchemy import bindparam, select

from understudy.store.audit import append
from understudy.store.engine import glancing, writing
from understudy.store.labeling_tables import settings
from understudy.store.repository import Store
from understudy.store.rows import packed

GOLD_RATE = "gold_rate"
"""Name of a setting: share of a labeler's items that are gold."""
MARKDOWN = "markdown"
"""Name of a setting: whether responses are shown as Markdown."""


_VALUE = select(settings.c.value).where(settings.c.name == bindparam("name"))


def setting(store: Store, name: str, default: Any) -> Any:
    """A value, or the default until the owner sets one."""
    with glancing(store.engine) as connection:
        found = connection.execute(_VALUE, {"name": name}).scalar()
    return default if found is None else json.loads(found)


def set_setting(store: Store, name: str, value: Any, at: str, *, by: str | None) -> None:
    """Set a value; the audit log records who did."""
    with writing(store.engine) as connection:
        connection.execute(settings.delete().where(settings.c.name == name))
        row = {"name": name, "value": packed(value), "updated_at": at}
        connection.execute(settings.insert(), row)
        body = {"value": value}
        append(connection, at=at, account_id=by, action="setting.set", object=name, body=body)
