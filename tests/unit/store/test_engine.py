"""Transactions and kept connections, on both backends."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, select
from tests.stores import database

from understudy.store import engine as engine_module
from understudy.store.engine import glancing, make_engine, reading, writing, writing_once
from understudy.store.tables import users

ANN = {"id": "ann", "organization_id": None, "consent": True, "created_at": "2026-01-01"}


@pytest.fixture
def engine(backend: str, tmp_path: Path) -> Iterator[Engine]:
    """Of a new store, as a server opens it."""
    found = make_engine(database(backend, tmp_path), pooled=True)
    yield found
    found.dispose()


def names(engine: Engine) -> list[str]:
    with glancing(engine) as connection:
        return list(connection.execute(select(users.c.id).order_by(users.c.id)).scalars())


def test_a_transaction_is_all_or_nothing(engine: Engine) -> None:
    with suppress(KeyError), writing(engine) as connection:
        connection.execute(users.insert(), ANN)
        connection.execute(users.insert(), {**ANN, "id": "ben"})
        raise KeyError
    assert names(engine) == []
    with writing(engine) as connection:
        connection.execute(users.insert(), ANN)
        assert names(engine) == []  # not before it is done
    assert names(engine) == ["ann"]


def test_one_statement_is_a_transaction_by_itself(engine: Engine) -> None:
    with writing_once(engine) as connection:
        connection.execute(users.insert(), ANN)
        assert names(engine) == ["ann"]
    with suppress(KeyError), writing_once(engine) as connection:
        connection.execute(users.insert(), {**ANN, "id": "ben"})
        raise KeyError
    assert names(engine) == ["ann", "ben"]
    with writing(engine) as connection:  # the same connection begins transactions again
        connection.execute(users.delete())
        assert names(engine) == ["ann", "ben"]
    assert names(engine) == []


def test_reading_sees_one_moment_on_sqlite(tmp_path: Path) -> None:
    engine = make_engine(database("sqlite", tmp_path), pooled=True)
    with reading(engine) as connection:
        assert connection.execute(select(users.c.id)).all() == []
        with writing_once(engine) as other:
            other.execute(users.insert(), ANN)
        assert connection.execute(select(users.c.id)).all() == []
    engine.dispose()


def test_connections_are_kept_for_as_many_as_ask_at_once(engine: Engine) -> None:
    opened = []
    event.listen(engine, "connect", lambda *given: opened.append(1))
    for _ in range(3):  # each time all are held together
        barrier = threading.Barrier(engine_module.POOL)

        def hold(barrier: threading.Barrier = barrier) -> None:
            with reading(engine) as connection:
                connection.execute(select(users.c.id))
                barrier.wait()

        threads = [threading.Thread(target=hold) for _ in range(engine_module.POOL)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(opened) == engine_module.POOL


def test_a_kept_connection_that_died_is_replaced(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(engine_module, "PING_AFTER_S", 0.0)
    url = database("postgresql", tmp_path)
    engine, other = make_engine(url, pooled=True), make_engine(url)
    assert names(engine) == []
    with glancing(other) as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert names(engine) == []
    engine.dispose()
