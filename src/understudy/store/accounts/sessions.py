"""Sign-in sessions and counts of wrong passwords. Cookies are stored as hashes only."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import RowMapping, and_, bindparam, exists, select

from understudy.store.audit import append
from understudy.store.engine import glancing, reading, writing
from understudy.store.labeling_tables import accounts, acknowledgements, sessions, sign_in_failures
from understudy.store.repository import Store
from understudy.store.rubrics import newest_rubric

_has_read = exists().where(
    and_(
        acknowledgements.c.account_id == accounts.c.id,
        acknowledgements.c.rubric == newest_rubric,
    )
)


_account_of = (
    select(
        accounts.c.id,
        accounts.c.name,
        accounts.c.role,
        accounts.c.owner,
        accounts.c.stage,
        accounts.c.disabled_at,
        _has_read.label("has_read"),
        newest_rubric.label("rubric"),
    )
    .add_columns(
        sessions.c.created_at.label("session_created_at"), sessions.c.seen_at, sessions.c.revoked_at
    )
    .join_from(sessions, accounts)
    .where(sessions.c.id == bindparam("id_"), sessions.c.revoked_at.is_(None))
)


def open_session(store: Store, session_id: str, account_id: str, at: str) -> None:
    """Begin a session."""
    row = {"id": session_id, "account_id": account_id, "created_at": at, "seen_at": at}
    with writing(store.engine) as connection:
        connection.execute(sessions.insert(), row)
        append(connection, at=at, account_id=account_id, action="signed_in")


def session_of(store: Store, session_id: str) -> RowMapping | None:
    """A session that was not revoked, with its account and whether the account has read the newest
    `rubric`."""
    with glancing(store.engine) as connection:
        return connection.execute(_account_of, {"id_": session_id}).mappings().first()


def touch_session(store: Store, session_id: str, at: str) -> None:
    """Record the session's last use."""
    with writing(store.engine) as connection:
        mine = sessions.c.id == session_id
        connection.execute(sessions.update().where(mine).values(seen_at=at))


def revoke_session(store: Store, session_id: str, at: str) -> None:
    """End a session."""
    with writing(store.engine) as connection:
        mine = sessions.c.id == session_id
        connection.execute(sessions.update().where(mine).values(revoked_at=at))


def failures(store: Store, keys: Iterable[str]) -> dict[str, tuple[int, datetime]]:
    """Key -> (wrong passwords in a row, time of the last one)."""
    query = select(sign_in_failures).where(sign_in_failures.c.key.in_(list(keys)))
    with reading(store.engine) as connection:
        rows = connection.execute(query).mappings().all()
    return {row["key"]: (row["count"], datetime.fromisoformat(row["last_at"])) for row in rows}


def note_failures(store: Store, counts: Mapping[str, int], at: str) -> None:
    """Store the new count of each key."""
    with writing(store.engine) as connection:
        mine = sign_in_failures.c.key.in_(list(counts))
        connection.execute(sign_in_failures.delete().where(mine))
        rows = [{"key": key, "count": count, "last_at": at} for key, count in counts.items()]
        connection.execute(sign_in_failures.insert(), rows)


def forget_failures(store: Store, keys: Iterable[str]) -> None:
    """Reset the count after a right password."""
    with writing(store.engine) as connection:
        mine = sign_in_failures.c.key.in_(list(keys))
        connection.execute(sign_in_failures.delete().where(mine))
