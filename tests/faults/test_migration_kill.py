"""An upgrade that is killed at any statement leaves the old store whole, and can be run again."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, MetaData, inspect
from tests.stores import BACKENDS, database, fill

from understudy.store import migrate
from understudy.store.engine import make_engine, reading
from understudy.store.repository import Store

PROGRAM = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import event
from understudy.store import migrate
from understudy.store.engine import make_engine

migrate.FOLDER = Path(sys.argv[3])
engine, left = make_engine(sys.argv[1]), [int(sys.argv[2])]

@event.listens_for(engine, "before_cursor_execute")
def count(connection, cursor, statement, *rest):
    left[0] -= not statement.startswith(("SELECT", "PRAGMA", "select", "show"))
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)

migrate.upgrade(engine)
"""
NEXT = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "9998", "{newest}"

def upgrade():
    with op.batch_alter_table("prompts") as batch:  # SQLite makes the table anew
        batch.add_column(sa.Column("language", sa.Text(), nullable=False, server_default="en"))
        batch.create_check_constraint("language", "language <> ''")
    op.create_table("glossary", sa.Column("word", sa.Text(), primary_key=True))
    op.create_index("ix_glossary_word", "glossary", ["word"])
"""


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    """The project's migrations and one that is still to come."""
    folder = tmp_path / "migrations"
    shutil.copytree(migrate.FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    text = NEXT.format(newest=migrate.newest_version())
    (folder / "versions" / "9998_next.py").write_text(text)
    return folder


def upgrade(url: str, migrations: Path, *, dies_at: int = 0) -> int:
    """Upgrade in a process of its own, which kills itself at its n-th statement that writes."""
    command = [sys.executable, "-c", PROGRAM, url, str(dies_at), str(migrations)]
    return subprocess.run(command, check=False).returncode


def rows_of(engine: Engine) -> dict[str, list[tuple]]:
    """All rows of the tables that are there, whatever the schema."""
    found = MetaData()
    found.reflect(engine)
    with reading(engine) as connection:
        return {
            table.name: sorted(map(tuple, connection.execute(table.select())), key=repr)
            for table in found.sorted_tables
        }


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_killed_upgrade_can_be_run_again(backend: str, tmp_path: Path, migrations: Path) -> None:
    url = database(backend, tmp_path)
    engine = make_engine(url)
    fill(Store(engine), 3)
    before = rows_of(engine)
    assert len(before["labels"]) == 18
    for statement in (2, 4):
        assert upgrade(url, migrations, dies_at=statement) == -signal.SIGKILL
        assert migrate.version_of(engine) == migrate.newest_version()
        assert rows_of(engine) == before
    assert upgrade(url, migrations) == 0
    assert migrate.version_of(engine) == "9998"
    after = rows_of(engine)
    assert all(row[-1] == "en" for row in after["prompts"])
    unchanged = before.keys() - {"prompts", "alembic_version"}
    assert {name: after[name] for name in unchanged} == {name: before[name] for name in unchanged}
    with pytest.raises(ValueError, match="schema 9998, which this version does not know"):
        migrate.check_version(engine)
    engine.dispose()


@pytest.mark.thorough
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_store_whose_making_was_killed_can_be_made_again(backend: str, tmp_path: Path) -> None:
    url = database(backend, tmp_path, migrated=False)
    engine = make_engine(url)
    for statement in (2, 40):
        assert upgrade(url, migrate.FOLDER, dies_at=statement) == -signal.SIGKILL
        assert migrate.version_of(engine) is None
        assert not inspect(engine).get_table_names()
    assert upgrade(url, migrate.FOLDER) == 0
    migrate.check_version(engine)
    fill(Store(engine), 1)
    engine.dispose()
