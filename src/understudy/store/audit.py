"""The audit log: who did what; each row's hash covers the row before.

Altering, removing or inserting a row breaks the chain (`verify`), and the database refuses updates.
Bodies hold ids and settings, never text by users or labelers, so the log survives when a user is
forgotten.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, RowMapping, select

from understudy.store.engine import is_sqlite, rows_of
from understudy.store.labeling_tables import audit_log
from understudy.store.repository import Store
from understudy.store.rows import Row, packed

BEFORE_THE_FIRST = "0" * 64


PAGE = 500


_LOCK = 0x41554449


def append(
    connection: Connection,
    *,
    at: str,
    account_id: str | None,
    action: str,
    object: str | None = None,
    body: Mapping[str, Any] | None = None,
) -> None:
    """Append a row, in the transaction that makes the change it records."""
    if not is_sqlite(connection):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    query = select(audit_log.c.seq, audit_log.c.hash).order_by(audit_log.c.seq.desc()).limit(1)
    last = connection.execute(query).first()
    row: Row = {
        "seq": last.seq + 1 if last else 1,
        "at": at,
        "account_id": account_id,
        "action": action,
        "object": object,
        "body": packed(dict(body or {})),
        "previous": last.hash if last else BEFORE_THE_FIRST,
    }
    connection.execute(audit_log.insert(), {**row, "hash": hash_of(row)})


def hash_of(row: Mapping[str, Any]) -> str:
    """The hash of a row, its own hash left out."""
    names = ("seq", "at", "account_id", "action", "object", "body", "previous")
    return sha256(packed([row[name] for name in names]).encode()).hexdigest()


def verify(store: Store) -> str | None:
    """None if the chain is intact, else what is wrong with the first row that breaks it."""
    previous, expected = BEFORE_THE_FIRST, 1
    while True:
        rows = entries(store, after=expected - 1)
        if not rows:
            return None
        for row in rows:
            if row["seq"] != expected:
                return f"row {expected} is missing"
            if row["previous"] != previous or row["hash"] != hash_of(dict(row)):
                return f"row {expected} was altered"
            previous, expected = row["hash"], expected + 1


def entries(store: Store, *, after: int = 0, limit: int = PAGE) -> list[RowMapping]:
    """Rows later than number `after`, oldest first."""
    query = select(audit_log).where(audit_log.c.seq > after).order_by(audit_log.c.seq).limit(limit)
    return rows_of(store.engine, query)


def audit_page(
    store: Store, *, before: int | None = None, action: str = "", limit: int = 100
) -> list[RowMapping]:
    """Rows of the audit log whose action has this prefix, newest first."""
    query = select(audit_log).order_by(audit_log.c.seq.desc()).limit(limit)
    if before is not None:
        query = query.where(audit_log.c.seq < before)
    if action:
        query = query.where(audit_log.c.action.startswith(action, autoescape=True))
    return rows_of(store.engine, query)
