"""What is deleted from PostgreSQL is in no file of its data directory any more, or it is said."""

import secrets
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, make_url
from tests.postgres import Server, program
from tests.stores import LABELERS, answer, labels_of

from understudy.commands.users import ForgetConfig, forget
from understudy.records import Prompt
from understudy.store.engine import make_engine
from understudy.store.migrate import upgrade
from understudy.store.project import FILE, Project

MARKS = (b"kQ7vXz2", b"9wJtBn4Lr8cPq1", b"leaving-3f9")
"""Of a text that is stored compressed, of one that is not, and of the user's id."""


@pytest.fixture(scope="module")
def server():
    if program("initdb") is None:
        pytest.skip("PostgreSQL is not installed (Debian package postgresql)")
    server = Server()
    yield server
    server.stop()


@pytest.fixture(params=["a superuser", "the owner"])
def project(request, server: Server, tmp_path: Path):
    """A project with a user who leaves, by a superuser or by one who only owns the database."""
    name, role = f"t{uuid4().hex}", f"r{uuid4().hex}"
    owner = "tester" if request.param == "a superuser" else role
    server.execute(f"CREATE ROLE {role} LOGIN", f"CREATE DATABASE {name} OWNER {owner}")
    url = server.host.format(name).replace("tester@", f"{owner}@")
    engine = make_engine(url)
    upgrade(engine)
    engine.dispose()
    (tmp_path / FILE).write_text(f'store = "{url}"\nsplit_key = "a key"\n')
    project = Project(folder=tmp_path, store=url, split_key="a key")
    _plant(project)
    server.execute("ANALYZE", "CHECKPOINT", database=name)
    _plant(project, again=True)  # in the log after the checkpoint too
    for mark in MARKS:
        assert files_with(server, mark)
    yield project
    server.execute(f"DROP DATABASE {name} WITH (FORCE)", f"DROP ROLE {role}")


def _plant(project: Project, again: bool = False) -> None:
    store = project.open_store()
    compressed = "kQ7vXz2" + " and the same again" * 1000
    plain = "9wJtBn4Lr8cPq1" + secrets.token_hex(5000)
    store.add_labelers(LABELERS)
    store.add_rubric("v1", "Be helpful.", ["truthful", "harmless", "helpful"])
    texts = {"leaving-3f9": (compressed, plain), "other": ("Why?", "When?")}
    for user, (first, second) in texts.items():
        for number, text in enumerate((first, second)):
            prompt = Prompt(id=f"{user[0]}{number}-{again}", prompt=text, user_id=user)
            store.add_prompts([prompt])
            store.add_responses([answer(prompt, k) for k in range(2)])
            store.add_labels(labels_of(prompt, LABELERS[0]))
            store.set_intake([prompt], [])  # leaves a dead row
    store.engine.dispose()


def files_with(server: Server, mark: bytes) -> list[str]:
    """Files of the server that have these bytes."""
    files = (path for path in server.data.rglob("*") if path.is_file())
    return [str(path.relative_to(server.data)) for path in files if mark in path.read_bytes()]


def assert_gone(server: Server, but: str = "nothing") -> None:
    for mark in MARKS:
        found = [path for path in files_with(server, mark) if not path.startswith(but)]
        assert not found, mark


def name_of(project: Project) -> str:
    """Its database's name."""
    return str(make_url(project.url).database)


def leave(project: Project) -> list[str]:
    """Forget the user: where something is left."""
    return forget(ForgetConfig(user="leaving-3f9", project=project.folder)).left


@pytest.mark.thorough
def test_nothing_is_left_or_it_is_said_what_the_administrator_does(project, server) -> None:
    left = leave(project)
    role = make_url(project.url).username
    if role != "tester":
        assert_gone(server, but="pg_wal/")
        assert any(files_with(server, mark) for mark in MARKS)
        (line,) = left
        assert line.startswith("PostgreSQL's write-ahead log, until the server has overwritten it")
        grants = line.partition("`")[2].partition("`")[0]
        assert grants.startswith(f"GRANT pg_checkpoint TO {role}; GRANT EXECUTE ON FUNCTION")
        assert f"in database {name_of(project)}" in line
        server.execute(*grants.split("; "), database=name_of(project))
        left = leave(project)  # and run this again
    assert left == []
    assert_gone(server)
    with pytest.raises(ValueError, match="there is no user"):
        leave(project)


@pytest.mark.thorough
@pytest.mark.parametrize("project", ["a superuser"], indirect=True)
def test_what_keeps_deleted_rows_is_named(project, server) -> None:
    server.execute("SELECT pg_create_physical_replication_slot('standby', true)")
    reader = create_engine(project.url).execution_options(isolation_level="REPEATABLE READ")
    with reader.connect() as connection:
        connection.exec_driver_sql("SELECT 1")  # its snapshot is older than the deletion
        first, second = leave(project)
    reader.dispose()
    assert first.startswith("the tables' pages (")
    assert "an open transaction" in first
    assert "replication slot standby keeps them" in second
    server.execute("SELECT pg_drop_replication_slot('standby')")
    assert leave(project) == []
    assert_gone(server)


@pytest.mark.thorough
@pytest.mark.parametrize("project", ["the owner"], indirect=True)
def test_statistics_of_a_table_that_became_empty(project, server) -> None:
    role, database = make_url(project.url).username, name_of(project)
    server.execute(
        f"GRANT pg_checkpoint TO {role}",
        f"GRANT EXECUTE ON FUNCTION pg_switch_wal(), pg_ls_waldir() TO {role}",
        database=database,
    )
    forget(ForgetConfig(user="other", project=project.folder))
    left = leave(project)
    statements = [line.partition("`")[2].partition("`")[0] for line in left]
    assert len(statements) == len(left)
    assert "DELETE FROM pg_catalog.pg_statistic WHERE starelid = 'users'::regclass" in statements
    server.execute(*statements, database=database)
    assert leave(project) == []
    assert_gone(server)
