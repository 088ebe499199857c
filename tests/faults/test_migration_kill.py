"""An upgrade that is killed at any statement leaves the old store whole, and can be run again."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, MetaData, select
from tests.stores import database, fill

from understudy.store.engine import make_engine, reading, writing
from understudy.store.migrate import check_version, upgrade, version_of
from understudy.store.repository import Store
from understudy.store.tables import metadata

PROGRAM = """
import os, signal, sys
from sqlalchemy import event
from understudy.store.engine import make_engine, reading, writing
from understudy.store.migrate import upgrade

engine, left = make_engine(sys.argv[1]), [int(sys.argv[2])]

@event.listens_for(engine, "before_cursor_execute")
def count(connection, cursor, statement, *rest):
    left[0] -= not statement.startswith(("SELECT", "PRAGMA", "select", "show"))
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)

upgrade(engine)
"""


def rows_of(engine: Engine) -> dict[str, list[tuple]]:
    """All rows of the tables that are there, whatever the schema."""
    found = MetaData()
    found.reflect(engine)
    with reading(engine) as connection:
        return {
            table.name: sorted(map(tuple, connection.execute(table.select())), key=repr)
            for table in found.sorted_tables
        }


def fill_older(engine: Engine, folder: Path) -> Store:
    """Fill a store of an older schema with what it has places for of a new one's, which is
    returned: today's code cannot write to it."""
    folder.mkdir()
    newest = Store(make_engine(database("sqlite", folder)))
    fill(newest, 3)
    older = MetaData()
    older.reflect(engine)
    with reading(newest.engine) as source, writing(engine) as connection:
        for table in metadata.sorted_tables:
            if table.name in older.tables:
                names = [column.name for column in older.tables[table.name].c]
                rows = source.execute(select(*(table.c[name] for name in names))).mappings()
                for row in rows:
                    connection.execute(older.tables[table.name].insert(), dict(row))
    return newest


@pytest.mark.parametrize(
    ("version", "backend"),
    [
        ("0001", "sqlite"),
        ("0002", "postgresql"),
        pytest.param("0001", "postgresql", marks=pytest.mark.slow),
        pytest.param("0002", "sqlite", marks=pytest.mark.slow),
    ],
)
def test_a_killed_upgrade_can_be_run_again(backend: str, version: str, tmp_path: Path) -> None:
    url = database(backend, tmp_path, migrated=False)
    engine = make_engine(url)
    upgrade(engine, version)
    newest = fill_older(engine, tmp_path / "newest")
    before = rows_of(engine)
    assert len(before["labels"]) == 18
    for statement in (2, 4):
        ended = subprocess.run([sys.executable, "-c", PROGRAM, url, str(statement)], check=False)
        assert ended.returncode == -signal.SIGKILL
        assert version_of(engine) == version
        assert rows_of(engine) == before
    upgrade(engine)
    check_version(engine)
    store = Store(engine)
    assert list(store.labels()) == list(newest.labels())
    assert list(store.prompts()) == list(newest.prompts())
    engine.dispose()
    newest.engine.dispose()
