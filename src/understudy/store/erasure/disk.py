"""Erases deleted rows from the database's files.

SQLite: `secure_delete` overwrites rows as they are deleted; the file is also rewritten and its
write-ahead log emptied. PostgreSQL keeps deleted rows in four places of its data directory: the
tables' pages (VACUUM FULL rewrites them), the planner's statistics, which hold frequent values
(ANALYZE, then VACUUM FULL of pg_statistic), and the write-ahead log, in its old segments and in its
recycled ones (CHECKPOINT, then segment switches until all are overwritten: a switch fills the
segment with zeros).

Reports each step that missing privileges or server settings block, with a fix, and does the rest.
"""

import re
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Engine

from understudy.store.engine import bare, is_sqlite
from understudy.store.tables import metadata

LOCK_TIMEOUT_MS = 60_000
"""How long to wait for a locked table."""
_SEGMENTS = "pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'"
_MAY_CHECKPOINT = """
SELECT rolsuper OR EXISTS (
    SELECT 1 FROM pg_roles AS known
    WHERE known.rolname = 'pg_checkpoint' AND pg_has_role(known.oid, 'MEMBER')
) FROM pg_roles WHERE rolname = current_user
"""


def erase_deleted(engine: Engine) -> list[str]:
    """Rewrite the database's files; returns a line for each place that still holds deleted rows."""
    with bare(engine) as connection:
        if is_sqlite(connection):
            return _erase_sqlite(connection)
        connection.exec_driver_sql("SET statement_timeout = 0")
        connection.exec_driver_sql(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
        return [*_rewrite_tables(connection), *_renew_wal(connection)]


def copies_of(engine: Engine) -> list[str]:
    """Places to which the server has copied rows and that cannot be erased from here."""
    if is_sqlite(engine):
        return []
    with bare(engine) as connection:
        return list(_copies(connection))


def _erase_sqlite(connection: Connection) -> list[str]:
    connection.exec_driver_sql("VACUUM")
    if connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]:
        return ["the store's write-ahead log: another process reads it; run again"]
    return []


def _rewrite_tables(connection: Connection) -> Iterator[str]:
    """VACUUM every table; VACUUM FULL reports what it could not do as notices, not as errors."""
    kept: list[int] = []
    skipped: list[str] = []

    def note(notice: Any) -> None:  # the notice is valid only during this call
        if notice.severity_nonlocalized == "WARNING":
            skipped.append(notice.message_primary)
        elif notice.severity_nonlocalized == "INFO":
            kept.append(_kept_rows(notice.message_detail or ""))

    driver: Any = connection.connection.driver_connection
    driver.add_notice_handler(note)
    for table in metadata.sorted_tables:
        connection.exec_driver_sql(f"VACUUM (FULL, ANALYZE, VERBOSE) {table.name}")
        if connection.exec_driver_sql(f"SELECT NOT EXISTS (SELECT 1 FROM {table.name})").scalar():
            yield from _drop_statistics(connection, table.name)
    connection.exec_driver_sql("VACUUM (FULL, VERBOSE) pg_catalog.pg_statistic")
    driver.remove_notice_handler(note)
    if sum(kept):
        yield (
            f"the tables' pages ({sum(kept):,} deleted rows): an open transaction, a prepared one "
            "or a replication slot may still read them; end it, then run this again"
        )
    for message in skipped:
        yield f"a table ({message}): let the database's owner run this again"


def _kept_rows(detail: str) -> int:
    """Rows that VACUUM FULL had to keep ("3 dead row versions cannot be removed yet")."""
    number = re.match(r"\d+", detail)
    return int(number[0]) if number else 0


def _drop_statistics(connection: Connection, table: str) -> Iterator[str]:
    """Clear the statistics of empty tables, which ANALYZE keeps."""
    known = f"SELECT 1 FROM pg_stats WHERE schemaname = current_schema() AND tablename = '{table}'"
    if connection.exec_driver_sql(known).first() is None:
        return
    statement = f"DELETE FROM pg_catalog.pg_statistic WHERE starelid = '{table}'::regclass"
    if _asked(connection, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        connection.exec_driver_sql(statement)
    else:
        yield f"statistics of the empty table {table}: let a superuser run `{statement}`"


def _renew_wal(connection: Connection) -> Iterator[str]:
    """Switch past every old segment, and overwrite the recycled ones."""
    missing = _missing_grants(connection)
    if missing:
        yield (
            "PostgreSQL's write-ahead log, until the server has overwritten it: let a superuser "
            f"run `{missing}` in database {_asked(connection, 'SELECT current_database()')}, then "
            "run this again"
        )
        return
    ended = _asked(connection, "SELECT pg_walfile_name(pg_switch_wal())")
    connection.exec_driver_sql("CHECKPOINT")
    last = _asked(connection, f"SELECT max(name) FROM {_SEGMENTS}")
    while _asked(connection, "SELECT pg_walfile_name(pg_current_wal_insert_lsn())") <= last:
        # A switch does nothing in a segment without a record; this writes the smallest one.
        connection.exec_driver_sql("SELECT pg_logical_emit_message(false, 'understudy', '')")
        connection.exec_driver_sql("SELECT pg_switch_wal()")
    connection.exec_driver_sql("CHECKPOINT")
    kept = _asked(connection, f"SELECT count(*) FROM {_SEGMENTS} AND name <= '{ended}'")
    if kept:
        yield (
            f"{kept} segments of PostgreSQL's write-ahead log: {_kept_by(connection)}; let the "
            "administrator free them, then run this again"
        )


def _missing_grants(connection: Connection) -> str:
    """The grants that are missing and that a superuser can give."""
    user = _asked(connection, "SELECT quote_ident(current_user)")
    grants = []
    if not _asked(connection, _MAY_CHECKPOINT):
        grants.append(f"GRANT pg_checkpoint TO {user}")
    for function in ("pg_switch_wal()", "pg_ls_waldir()"):
        if not _asked(connection, f"SELECT has_function_privilege('{function}', 'EXECUTE')"):
            grants.append(f"GRANT EXECUTE ON FUNCTION {function} TO {user}")
    return "; ".join(grants)


def _kept_by(connection: Connection) -> str:
    """Why the server keeps old segments."""
    slots = connection.exec_driver_sql(
        "SELECT slot_name FROM pg_replication_slots WHERE restart_lsn IS NOT NULL"
    )
    reasons = [f"replication slot {name} keeps them" for name in sorted(slots.scalars())]
    size = _asked(connection, "SELECT current_setting('wal_keep_size')")
    if size != "0":
        reasons.append(f"wal_keep_size is {size}")
    if _archives(connection):
        reasons.append("archive_command has not taken them")
    return " and ".join(reasons) or "the server keeps them"


def _copies(connection: Connection) -> Iterator[str]:
    """Other places to which the server may have written rows."""
    if _archives(connection):
        yield "archived write-ahead logs and base backups (archive_mode is on): delete older ones"
    standbys = _asked(connection, "SELECT count(*) FROM pg_stat_replication")
    if standbys:
        yield f"{standbys} standbys, each until it has overwritten its own write-ahead log"


def _archives(connection: Connection) -> bool:
    return bool(_asked(connection, "SELECT current_setting('archive_mode') <> 'off'"))


def _asked(connection: Connection, query: str) -> Any:
    """The single value that a query returns."""
    return connection.exec_driver_sql(query).scalar_one()
