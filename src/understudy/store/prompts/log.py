"""The gateway's log: consenting users' prompts, the responses, and their feedback.

A separate SQLite file, so that a busy gateway never makes a labeler wait. Rows are appended in
batches, one commit each, and never changed; only removal of a user or expiry deletes rows. Uses
plain sqlite3, since this is the gateway's hottest write. A commit survives any end of the process;
with `sync` it also survives power loss, at the cost of a flush per batch.
"""

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from understudy.store.engine import BUSY_TIMEOUT_MS, SQLITE_PRAGMAS
from understudy.store.rows import packed

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    request_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_of_request ON events (request_id);
CREATE INDEX IF NOT EXISTS events_of_user ON events (user_id);
CREATE TRIGGER IF NOT EXISTS events_immutable BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
"""
PAGE = 1000


@dataclass(frozen=True, slots=True)
class Rows:
    """A selection of a log's rows: `of_user("ann")`, `before("2026-01-01")`."""

    where: str
    """SQL condition with one parameter."""
    value: str
    """The parameter."""


def of_user(user_id: str) -> Rows:
    """A user's rows."""
    return Rows("user_id = ?", user_id)


def before(moment: str) -> Rows:
    """All rows of the requests that began before a time, ISO 8601 in UTC."""
    return Rows("request_id IN (SELECT request_id FROM events WHERE created_at < ?)", moment)


@dataclass(frozen=True, slots=True)
class Event:
    """One row of the log."""

    kind: Literal["prompt", "answer", "feedback"]
    """What happened."""
    request_id: str
    """The response's id, which links the three kinds."""
    user_id: str
    """The user's id."""
    created_at: str
    """ISO 8601 in UTC."""
    body: Mapping[str, Any]
    """The content, as JSON."""


LogRow = tuple[str, str, str, str, str]


def row_of(event: Event) -> LogRow:
    """A row of the log."""
    body = packed(event.body)
    return (event.kind, event.request_id, event.user_id, event.created_at, body)


class PromptLog:
    """An open log; created if missing, OSError for a file that is not a log. One thread at a
    time."""

    def __init__(self, path: Path, *, sync: bool = True) -> None:
        self.path = path
        if not path.exists():
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            for name, value in SQLITE_PRAGMAS.items():
                self.db.execute(f"PRAGMA {name}={value}")
            self.db.execute(f"PRAGMA synchronous={'FULL' if sync else 'NORMAL'}")
            (version,) = self.db.execute("PRAGMA user_version").fetchone()
            if version > SCHEMA_VERSION:
                raise ValueError(
                    f"{path} has schema {version}; this version knows up to {SCHEMA_VERSION}; "
                    "upgrade understudy"
                )
            if version < SCHEMA_VERSION:
                self.db.executescript(_SCHEMA)
                self.db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        except sqlite3.Error as error:
            self.db.close()
            raise OSError(f"the log {path} cannot be used: {error}") from None
        except BaseException:
            self.db.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self.db.close()

    def append(self, events: Sequence[Event]) -> None:
        """Append events in one commit; sqlite3.Error if they cannot be written."""
        self.insert([row_of(event) for event in events])

    def insert(self, rows: Sequence[LogRow]) -> None:
        """Append rows in one commit; sqlite3.Error if they cannot be written."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            self.db.executemany(
                "INSERT INTO events (kind, request_id, user_id, created_at, body) "
                "VALUES (?, ?, ?, ?, ?)",
                rows,
            )
            self.db.execute("COMMIT")
        except BaseException:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            raise

    def owner(self, request_id: str) -> str | None:
        """The user of a recorded request, or None."""
        row = self.db.execute(
            "SELECT user_id FROM events WHERE request_id = ? LIMIT 1", (request_id,)
        ).fetchone()
        return row[0] if row else None

    def events(self, after: int = 0, rows: Rows | None = None) -> Iterator[tuple[int, Event]]:
        """(number, event) of all or selected rows after number `after`, in order."""
        condition = "" if rows is None else f" AND {rows.where}"
        values = () if rows is None else (rows.value,)
        while True:
            found = self.db.execute(
                "SELECT seq, kind, request_id, user_id, created_at, body FROM events "
                f"WHERE seq > ?{condition} ORDER BY seq LIMIT ?",
                (after, *values, PAGE),
            ).fetchall()
            if not found:
                return
            for seq, kind, request_id, user_id, created_at, body in found:
                yield seq, Event(kind, request_id, user_id, created_at, json.loads(body))
            after = found[-1][0]

    def count(self, rows: Rows) -> int:
        """The number of selected rows."""
        query = f"SELECT count(*) FROM events WHERE {rows.where}"
        return int(self.db.execute(query, (rows.value,)).fetchone()[0])

    def delete(self, rows: Rows) -> int:
        """Delete rows, a batch at a time so that a gateway can write in between; returns how many.

        SQLite overwrites them with zeros (`secure_delete`).
        """
        total = 0
        query = f"SELECT DISTINCT request_id FROM events WHERE {rows.where} LIMIT {PAGE}"
        while ids := self.db.execute(query, (rows.value,)).fetchall():
            self.db.execute("BEGIN IMMEDIATE")
            done = self.db.executemany("DELETE FROM events WHERE request_id = ?", ids)
            total += done.rowcount
            self.db.execute("COMMIT")
        return total

    def move_wal(self) -> None:
        """Move the write-ahead log into the file, most of it while others write, and begin it anew
        unless a reader blocks this. Waits for nobody."""
        self.db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        self.db.execute("PRAGMA busy_timeout=0")
        # Without a restart it would grow for as long as anybody writes.
        self.db.execute("PRAGMA wal_checkpoint(RESTART)")
        self.db.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")

    def empty_wal(self) -> bool:
        """Move the write-ahead log into the file and truncate it; False if a reader blocks this."""
        busy, *_ = self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def shrink(self) -> bool:
        """Rewrite the file, so that no byte of a deleted row is left in it, and empty its WAL;
        False if a reader blocks this.

        This waits for the gateway's current batch and blocks the next one.
        """
        self.db.execute("VACUUM")
        return self.empty_wal()
