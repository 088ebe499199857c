"""The schema's version: reads it and upgrades a store to the newest.

A migration runs in one transaction (SQLite's DDL is transactional once the driver stays out of the
way), so a killed migration leaves the old schema and can be run again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, inspect, text

from understudy.store import labeling_tables  # noqa: F401 - adds its tables to `metadata`
from understudy.store.engine import bare, is_sqlite, reading, writing
from understudy.store.tables import metadata

FOLDER = Path(__file__).parent / "migrations"


@cache
def newest_version() -> str:
    """The revision that this code reads and writes."""
    return max(known_versions())


@cache
def known_versions() -> frozenset[str]:
    """Every revision that this code can upgrade from, as the migration files' names begin."""
    files = (FOLDER / "versions").glob("[0-9]*_*.py")
    return frozenset(path.name.partition("_")[0] for path in files)


def version_of(engine: Engine) -> str | None:
    """A database's revision; None for an empty one."""
    with reading(engine) as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def check_version(engine: Engine) -> None:
    """ValueError that says what to do unless the database has the newest schema."""
    found = version_of(engine)
    if found == newest_version():
        return
    where = engine.url.render_as_string(hide_password=True)
    if found is None:
        raise ValueError(f"{where} has no store; make one with `understudy new`")
    if found not in known_versions():
        raise ValueError(
            f"{where} has schema {found}, which this version does not know (it knows up to "
            f"{newest_version()}); upgrade understudy, or restore a backup"
        )
    raise ValueError(
        f"{where} has schema {found}, older than {newest_version()}; back it up, then run "
        "`understudy store upgrade`"
    )


def upgrade(engine: Engine) -> None:
    """Bring a database to the newest schema, in one transaction; an empty one gets all tables."""
    from alembic import command  # imported here: it takes as long to load as the whole store

    found = version_of(engine)
    if found is not None and found not in known_versions():
        check_version(engine)
    with _changing(engine) as connection:
        if found is None:
            metadata.create_all(connection)
            command.stamp(_config(connection), "head")
        else:
            command.upgrade(_config(connection), "head")


@contextmanager
def _changing(engine: Engine) -> Iterator[Connection]:
    """A writing transaction; on SQLite foreign keys are off inside it and checked before it
    ends."""
    if not is_sqlite(engine):
        with writing(engine) as connection:
            yield connection
        return
    with bare(engine) as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")  # no effect inside a transaction
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            yield connection
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
            if broken:
                raise ValueError(
                    f"table {broken[0][0]} has rows that refer to missing rows of {broken[0][2]}; "
                    "nothing was changed: run `understudy store check`, or restore a backup"
                )
            connection.exec_driver_sql("COMMIT")
        except BaseException:
            connection.exec_driver_sql("ROLLBACK")
            raise
        finally:
            connection.exec_driver_sql("PRAGMA foreign_keys=ON")


def _config(connection: Connection) -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    attributes: dict[str, Any] = config.attributes
    attributes["connection"] = connection
    return config
