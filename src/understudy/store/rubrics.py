"""The labelers' instructions: every version, who has read it, how many labels follow it."""

import re
from collections.abc import Sequence

from sqlalchemy import RowMapping, func, select

from understudy.store.adding import insert_new
from understudy.store.audit import append
from understudy.store.engine import reading, rows_of, writing
from understudy.store.labeling_tables import accounts, acknowledgements
from understudy.store.repository import Store
from understudy.store.rows import packed
from understudy.store.tables import labels, rubrics

_VERSION = re.compile(r"[\w.-]{1,40}")
newest_rubric = (
    select(rubrics.c.version)
    .order_by(rubrics.c.created_at.desc(), rubrics.c.version.desc())
    .limit(1)
    .scalar_subquery()
)
"""The current version of the instructions."""
_NEWEST = select(newest_rubric)


def acknowledge(store: Store, account_id: str, version: str, at: str) -> bool:
    """Record that an account has read the instructions; False if there are newer ones."""
    with writing(store.engine) as connection:
        if connection.execute(_NEWEST).scalar() != version:
            return False
        row = {"account_id": account_id, "rubric": version, "at": at}
        insert_new(connection, acknowledgements, [row])
        return True


def newest_version(store: Store) -> str | None:
    """The current version of the instructions."""
    with reading(store.engine) as connection:
        return connection.execute(_NEWEST).scalar()


def rubric_of(store: Store, version: str) -> RowMapping:
    """A version of the instructions; ValueError if it does not exist."""
    query = select(rubrics).where(rubrics.c.version == version)
    with reading(store.engine) as connection:
        row = connection.execute(query).mappings().first()
    if row is None:
        raise ValueError(f"there is no version {version!r} of the instructions")
    return row


def last_read(store: Store, account_id: str) -> str | None:
    """The version that an account last read."""
    query = select(acknowledgements.c.rubric).where(acknowledgements.c.account_id == account_id)
    query = query.order_by(acknowledgements.c.at.desc()).limit(1)
    with reading(store.engine) as connection:
        return connection.execute(query).scalar()


def labels_by_rubric(store: Store) -> dict[str, int]:
    """Rubric version -> number of labels that followed it."""
    query = (
        select(labels.c.rubric, func.count())
        .where(labels.c.rubric.is_not(None))
        .group_by(labels.c.rubric)
    )
    with reading(store.engine) as connection:
        return {str(version): number for version, number in connection.execute(query)}


def rubric_rows(store: Store) -> list[RowMapping]:
    """Every version of the instructions, newest first."""
    query = select(rubrics).order_by(rubrics.c.created_at.desc(), rubrics.c.version.desc())
    return rows_of(store.engine, query)


def check_rubric(version: str, instructions: str, *orders: Sequence[str]) -> None:
    """ValueError if a version has no usable name, no text or no order of priorities."""
    if not _VERSION.fullmatch(version):
        raise ValueError(
            f"the version is called {version!r}; use 1 to 40 letters, digits and the signs . _ -"
        )
    if not instructions.strip():
        raise ValueError("the instructions are empty")
    for order in orders:
        if not order or len(set(order)) < len(order) or not all(word.strip() for word in order):
            raise ValueError("priorities must be different and not empty")
        if found := [word for word in order if "," in word]:
            raise ValueError(f"priority {found[0]!r} has a comma; give each priority by itself")


def publish_rubric(
    store: Store,
    version: str,
    instructions: str,
    priorities: Sequence[str],
    evaluation_priorities: Sequence[str],
    *,
    by: str,
    at: str,
) -> None:
    """Add a version of the instructions and make it current. ValueError for a known name."""
    row = {
        "version": version,
        "instructions": instructions,
        "priorities": packed(list(priorities)),
        "evaluation_priorities": packed(list(evaluation_priorities)),
        "created_at": at,
    }
    with writing(store.engine) as connection:
        known = select(rubrics.c.version).where(rubrics.c.version == version)
        if connection.execute(known).first() is not None:
            raise ValueError(f"version {version!r} exists and cannot change; choose another name")
        connection.execute(rubrics.insert(), row)
        append(connection, at=at, account_id=by, action="rubric.published", object=version)


def read_by(store: Store) -> tuple[dict[str, int], int]:
    """(rubric version -> accounts that have read it, accounts that label)."""
    working = (accounts.c.role.is_not(None)) & accounts.c.disabled_at.is_(None)
    query = (
        select(acknowledgements.c.rubric, func.count())
        .join(accounts, accounts.c.id == acknowledgements.c.account_id)
        .where(working)
        .group_by(acknowledgements.c.rubric)
    )
    with reading(store.engine) as connection:
        read = {row[0]: int(row[1]) for row in connection.execute(query)}
        number = connection.execute(select(func.count()).select_from(accounts).where(working))
        return read, int(number.scalar_one())
