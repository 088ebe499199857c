"""Connections to SQLite and PostgreSQL, with the settings that make commits durable.

SQLite: WAL, foreign keys on, `synchronous=FULL` (an acknowledged label survives power loss),
`secure_delete` (deleted data is overwritten), a busy timeout, and every writing transaction begins
with BEGIN IMMEDIATE: a transaction that reads first and then writes would otherwise fail with
"database is locked" whatever the timeout. PostgreSQL: statement and idle timeouts.

Both drivers run in autocommit mode: transactions begin here, and a single statement needs neither
BEGIN nor COMMIT (`glancing`, `writing_once`), each of which costs a round trip on PostgreSQL.
The engine has no listener for statements or transactions: with one, SQLAlchemy takes longer for
every statement.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, RowMapping, Select, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, DisconnectionError
from sqlalchemy.pool import NullPool, QueuePool

BUSY_TIMEOUT_MS = 10_000
"""How long a writer waits for another."""
STATEMENT_TIMEOUT_MS = 600_000
"""PostgreSQL: statement timeout."""
IDLE_TIMEOUT_MS = 60_000
"""PostgreSQL: timeout of an idle transaction."""
POOL = 16
"""Connections that a server pools: at least one per thread, since others are opened and closed for
each use."""
PING_AFTER_S = 5.0
"""PostgreSQL: a pooled connection idle for this long may be dead and is tested before use."""

SQLITE_PRAGMAS = {
    "journal_mode": "WAL",
    "synchronous": "FULL",
    "foreign_keys": "ON",
    "secure_delete": "ON",
    "busy_timeout": str(BUSY_TIMEOUT_MS),
}


def make_engine(url: str, *, pooled: bool = False) -> Engine:
    """An engine for a database URL; ValueError for anything but SQLite and PostgreSQL.

    `pooled` keeps connections open between transactions, for servers.
    """
    pool: dict[str, Any] = {"poolclass": NullPool}
    if pooled:
        pool = {"poolclass": QueuePool, "pool_size": POOL, "pool_use_lifo": True}
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ValueError(f"store {url!r} is not a database URL; see docs/store.md") from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000}, **pool)
        event.listen(engine, "connect", _prepare_sqlite)
        return engine
    if backend == "postgresql":
        options = (
            f"-c statement_timeout={STATEMENT_TIMEOUT_MS} "
            f"-c idle_in_transaction_session_timeout={IDLE_TIMEOUT_MS}"
        )
        parsed = parsed.set(drivername="postgresql+psycopg")
        given = {"options": options, "autocommit": True}
        engine = create_engine(parsed, connect_args=given, **pool)
        event.listen(engine, "checkin", _note_use)
        event.listen(engine, "checkout", _check_life)
        return engine
    raise ValueError(f"store {url!r} is on {backend}; use sqlite:///FILE or postgresql://...")


def is_sqlite(engine: Engine | Connection) -> bool:
    """Whether the backend is SQLite (else PostgreSQL)."""
    return engine.dialect.name == "sqlite"


def dialect_of(engine: Engine | Connection) -> ModuleType:
    """SQLAlchemy's module for the backend; its `insert` can skip or update existing rows."""
    name = "sqlite" if is_sqlite(engine) else "postgresql"
    return import_module(f"sqlalchemy.dialects.{name}")  # imported here: loading it takes a while


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A writing transaction, committed when the block succeeds; never nested."""
    begin = "BEGIN IMMEDIATE" if is_sqlite(engine) else "BEGIN"
    with (
        _plain_errors(engine),
        engine.connect() as connection,
        _turn(engine),
        connection.begin(),
    ):
        connection.exec_driver_sql(begin)
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A read-only transaction: one snapshot that blocks nobody."""
    with _plain_errors(engine), engine.connect() as connection, connection.begin():
        connection.exec_driver_sql("BEGIN")
        yield connection


def rows_of(engine: Engine, query: Select[Any]) -> list[RowMapping]:
    """All rows of a query, read in a transaction of its own."""
    with reading(engine) as connection:
        return list(connection.execute(query).mappings())


@contextmanager
def writing_once(engine: Engine) -> Iterator[Connection]:
    """For a single writing statement, which is its own transaction."""
    with _plain_errors(engine), engine.connect() as connection, _turn(engine):
        yield connection


@contextmanager
def glancing(engine: Engine) -> Iterator[Connection]:
    """For one reading statement, or several that need no common snapshot."""
    with _plain_errors(engine), engine.connect() as connection:
        yield connection


@contextmanager
def bare(engine: Engine) -> Iterator[Connection]:
    """A connection outside any transaction, for VACUUM and PRAGMA."""
    with glancing(engine) as connection:
        yield connection


def sqlite_file(engine: Engine) -> Path:
    """The database file of a SQLite engine."""
    return Path(str(engine.url.database))


@contextmanager
def _turn(engine: Engine) -> Iterator[None]:
    """SQLite has one writer. Threads of this process queue for it here: SQLite itself would have
    them sleep and retry, up to a tenth of a second longer than needed."""
    if not is_sqlite(engine):
        yield
        return
    with _NEW_TURN:
        turn = _TURNS.setdefault(engine, threading.Lock())
    with turn:
        yield


_NEW_TURN = threading.Lock()
_TURNS: WeakKeyDictionary[Engine, threading.Lock] = WeakKeyDictionary()


class StoreRefused(ValueError):
    """The database refused a value or a change; keeps only the part of its message that quotes no
    value."""


@contextmanager
def _plain_errors(engine: Engine) -> Iterator[None]:
    """Reports an unreachable or busy database in one sentence without SQL or values."""
    try:
        yield
    except DBAPIError as error:
        unusable = ("OperationalError", "DatabaseError", "InternalError")  # not their subclasses
        if error.connection_invalidated or type(error).__name__ in unusable:
            reason = str(error.orig).splitlines()[0] if error.orig else "unknown"
            where = engine.url.render_as_string(hide_password=True)
            raise OSError(f"the store at {where} cannot be used: {reason}") from None
        reason = type(error.orig or error).__name__
        if not isinstance(error, DataError):
            reason += ": " + str(error.orig).splitlines()[0]
        raise StoreRefused(f"the store refused a statement ({reason})") from None


def _prepare_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # otherwise the driver begins transactions itself
    for name, value in SQLITE_PRAGMAS.items():
        connection.execute(f"PRAGMA {name}={value}")


def _note_use(connection: Any, record: Any) -> None:
    record.info["used"] = time.monotonic()


def _check_life(connection: Any, record: Any, proxy: Any) -> None:
    """Test a connection; the pool replaces one that fails here."""
    if time.monotonic() - record.info.get("used", time.monotonic()) > PING_AFTER_S:
        try:
            connection.execute("SELECT 1")
        except Exception as error:  # whatever the error, the connection is unusable
            raise DisconnectionError from error


__all__ = [
    "SQLITE_PRAGMAS",
    "StoreRefused",
    "bare",
    "dialect_of",
    "glancing",
    "is_sqlite",
    "make_engine",
    "reading",
    "sqlite_file",
    "writing",
    "writing_once",
]
