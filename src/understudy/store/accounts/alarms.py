"""Flags on a labeler's work for a person to look at."""

import secrets
from typing import Any

from sqlalchemy import Connection, bindparam, select

from understudy.store.labeling_tables import assignments, worker_flags
from understudy.store.rows import packed


def raise_flag(
    connection: Connection, account_id: str, kind: str, body: dict[str, Any], at: str
) -> None:
    """Something that a person should look at."""
    row = {
        "id": f"flag-{secrets.token_hex(8)}",
        "account_id": account_id,
        "kind": kind,
        "body": packed(body),
        "created_at": at,
    }
    connection.execute(worker_flags.insert(), row)


def skips_in_a_row(connection: Connection, account_id: str) -> int:
    """How many of an account's latest items in a row were skipped."""
    streak = 0
    for state in connection.execute(_SKIPPED, {"account": account_id}).scalars():
        if state == "done":
            break
        streak += 1
    return streak


_SKIPPED = (
    select(assignments.c.state)
    .where(
        assignments.c.account_id == bindparam("account"),
        assignments.c.state.in_(("done", "skipped")),
    )
    .order_by(assignments.c.done_at.desc())
    .limit(100)
)
