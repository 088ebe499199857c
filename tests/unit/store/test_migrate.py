"""Schema versions: made, known, refused, upgraded, and as the tables say."""

import shutil
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from tests.stores import database

from understudy.store import migrate
from understudy.store.engine import SQLITE_PRAGMAS, make_engine, reading, writing
from understudy.store.migrate import check_version, newest_version, upgrade, version_of
from understudy.store.tables import metadata


def test_the_migrations_make_what_the_tables_say(store) -> None:
    with reading(store.engine) as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []


def test_sqlite_is_opened_with_the_settings_that_keep_its_promises(tmp_path: Path) -> None:
    engine = make_engine(database("sqlite", tmp_path))
    numbers = {"FULL": 2, "ON": 1, "WAL": "wal"}
    with reading(engine) as connection:
        for name, value in SQLITE_PRAGMAS.items():
            found = connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            assert found == numbers.get(value, value if name == "journal_mode" else found), name
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 10_000


def test_an_empty_database_a_newer_and_an_older_schema_are_refused(
    backend: str, tmp_path: Path
) -> None:
    engine = make_engine(database(backend, tmp_path, migrated=False))
    with pytest.raises(ValueError, match="has no store"):
        check_version(engine)
    upgrade(engine)
    check_version(engine)
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for refuses in (check_version, upgrade):
        with pytest.raises(ValueError, match="schema 9999, which this version does not know"):
            refuses(engine)
    engine.dispose()


def test_a_store_with_an_older_schema_is_refused_until_it_is_upgraded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(database("sqlite", tmp_path))
    folder, newest = tmp_path / "migrations", newest_version()
    shutil.copytree(migrate.FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    text = f'revision = "9998"\ndown_revision = "{newest}"\n\n\ndef upgrade():\n    pass\n'
    (folder / "versions" / "9998_next.py").write_text(text)
    monkeypatch.setattr(migrate, "FOLDER", folder)
    monkeypatch.setattr(migrate, "newest_version", lambda: "9998")
    monkeypatch.setattr(migrate, "known_versions", lambda: {newest, "9998"})
    with pytest.raises(ValueError, match=r"older than 9998; .*`understudy store upgrade`"):
        check_version(engine)
    upgrade(engine)
    check_version(engine)
    assert version_of(engine) == "9998"
    engine.dispose()


def test_an_upgrade_can_be_run_twice(backend: str, tmp_path: Path) -> None:
    engine = make_engine(database(backend, tmp_path, migrated=False))
    upgrade(engine)
    upgrade(engine)
    assert version_of(engine) == newest_version()
    engine.dispose()


def test_a_store_elsewhere_is_refused() -> None:
    with pytest.raises(ValueError, match="is on mysql"):
        make_engine("mysql://host/name")
    with pytest.raises(ValueError, match="is not a database URL"):
        make_engine("here")
