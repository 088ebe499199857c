"""Schema versions: made, known, refused, upgraded, and as the tables say."""

import re
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from tests.stores import database

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


def test_a_store_that_knew_no_datasets_of_feedback_is_upgraded(tmp_path: Path) -> None:
    engine = make_engine(database("sqlite", tmp_path))
    with writing(engine) as connection:
        said = "SELECT sql FROM sqlite_master WHERE tbl_name = 'dataset_records' AND sql NOT NULL"
        made = connection.exec_driver_sql(said + " ORDER BY type DESC").scalars().all()
        connection.exec_driver_sql("DROP TABLE dataset_records")
        for statement in made:
            lines = [line for line in statement.splitlines() if "feedback_id" not in line]
            if lines:
                connection.exec_driver_sql(re.sub(r",\s*\)$", ")", "\n".join(lines)))
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0005'")
    with pytest.raises(ValueError, match=r"schema 0005, older than .*understudy store upgrade"):
        check_version(engine)
    upgrade(engine)
    check_version(engine)
    with reading(engine) as connection:
        found = compare_metadata(MigrationContext.configure(connection), metadata)
        # SQLAlchemy reads no ON DELETE of a key that stands beside its column.
        assert [one for one in found if not one[0].endswith("_fk")] == []
        keys = connection.exec_driver_sql("PRAGMA foreign_key_list(dataset_records)").mappings()
        deletes = {key["from"]: (key["table"], key["on_delete"]) for key in keys}
    assert deletes["feedback_id"] == ("feedback", "CASCADE")
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
