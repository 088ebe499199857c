"""Alarms about a labeler's work, for a person to look at and clear."""

import secrets
from typing import Any

from sqlalchemy import Connection, RowMapping, select

from understudy.store.accounts.people import account_in
from understudy.store.audit import append
from understudy.store.engine import reading, rows_of, writing
from understudy.store.labeling_tables import accounts, worker_flags
from understudy.store.repository import Store
from understudy.store.rows import packed


def raise_flag(
    connection: Connection, account_id: str, kind: str, body: dict[str, Any], at: str
) -> None:
    """Flag something that a person should look at."""
    row = {
        "id": f"flag-{secrets.token_hex(8)}",
        "account_id": account_id,
        "kind": kind,
        "body": packed(body),
        "created_at": at,
    }
    connection.execute(worker_flags.insert(), row)


def open_flags(store: Store) -> list[RowMapping]:
    """Flags that are not cleared, with the account's name, newest first."""
    query = (
        select(worker_flags, accounts.c.name)
        .join(accounts, accounts.c.id == worker_flags.c.account_id)
        .where(worker_flags.c.cleared_at.is_(None))
        .order_by(worker_flags.c.created_at.desc(), worker_flags.c.id)
    )
    return rows_of(store.engine, query)


def clear_flag(store: Store, flag_id: str, *, by: str, at: str, note: str) -> None:
    """Clear a flag that a person has looked at. LookupError if there is none or it is cleared."""
    with writing(store.engine) as connection:
        mine = (worker_flags.c.id == flag_id) & worker_flags.c.cleared_at.is_(None)
        values = {"cleared_by": by, "cleared_at": at}
        if not connection.execute(worker_flags.update().where(mine).values(values)).rowcount:
            raise LookupError(flag_id)
        body = {"note": note}
        append(connection, at=at, account_id=by, action="alarm.cleared", object=flag_id, body=body)


def dismiss_alarm(store: Store, account_id: str, kind: str, *, by: str, at: str, note: str) -> None:
    """Clear a computed alarm: store it as a cleared flag."""
    with writing(store.engine) as connection:
        row = {
            "id": f"flag-{secrets.token_hex(8)}",
            "account_id": account_in(connection, account_id)["id"],
            "kind": kind,
            "body": "{}",
            "created_at": at,
            "cleared_by": by,
            "cleared_at": at,
        }
        connection.execute(worker_flags.insert(), row)
        body = {"kind": kind, "note": note}
        append(
            connection, at=at, account_id=by, action="alarm.cleared", object=account_id, body=body
        )


def dismissed(store: Store, since: str) -> set[tuple[str, str]]:
    """(account, kind) of alarms cleared since a given time."""
    query = select(worker_flags.c.account_id, worker_flags.c.kind).where(
        worker_flags.c.cleared_at >= since
    )
    with reading(store.engine) as connection:
        return {(row.account_id, row.kind) for row in connection.execute(query)}
