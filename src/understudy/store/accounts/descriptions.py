"""Labelers' optional self-descriptions and the topics that they can judge.

Changes are not in the audit log, which the owner can read.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import RowMapping, Select, delete, select

from understudy.store.engine import reading, rows_of, writing
from understudy.store.labeling_tables import accounts, self_descriptions, topic_coverage
from understudy.store.repository import Store
from understudy.store.rows import packed


def descriptions(store: Store) -> list[RowMapping]:
    """Self-descriptions: account_id, role, body. For counts and weights only."""
    query = select(self_descriptions.c.account_id, accounts.c.role, self_descriptions.c.body).join(
        accounts, accounts.c.id == self_descriptions.c.account_id
    )
    query = query.where(accounts.c.role.is_not(None), accounts.c.disabled_at.is_(None))
    return rows_of(store.engine, query)


def coverage(store: Store) -> dict[str, dict[str, bool]]:
    """Account -> topic -> whether they can judge it. For counts only."""
    found: dict[str, dict[str, bool]] = {}
    with reading(store.engine) as connection:
        query: Select[Any] = select(topic_coverage)
        for row in connection.execute(query).mappings():
            found.setdefault(row["account_id"], {})[row["topic"]] = bool(row["can_judge"])
    return found


def description_of(store: Store, account_id: str) -> RowMapping | None:
    """One's own self-description."""
    query = select(self_descriptions).where(self_descriptions.c.account_id == account_id)
    with reading(store.engine) as connection:
        return connection.execute(query).mappings().first()


def describe_oneself(
    store: Store, account_id: str, values: Mapping[str, Any] | None, at: str
) -> None:
    """Store a self-description, or delete it (None)."""
    with writing(store.engine) as connection:
        mine = self_descriptions.c.account_id == account_id
        connection.execute(delete(self_descriptions).where(mine))
        if values:
            row = {"account_id": account_id, "body": packed(dict(values)), "updated_at": at}
            connection.execute(self_descriptions.insert(), row)


def cover_topics(store: Store, account_id: str, values: Mapping[str, bool]) -> None:
    """Store which topics somebody can judge, replacing what they said before."""
    with writing(store.engine) as connection:
        mine = topic_coverage.c.account_id == account_id
        connection.execute(delete(topic_coverage).where(mine))
        rows = [
            {"account_id": account_id, "topic": topic, "can_judge": value}
            for topic, value in values.items()
        ]
        if rows:
            connection.execute(topic_coverage.insert(), rows)
