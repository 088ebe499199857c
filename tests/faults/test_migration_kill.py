"""An upgrade that is killed at any statement leaves the old store whole, and can be run again."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.stores import BACKENDS, database, fill

from understudy.store.engine import make_engine
from understudy.store.migrate import check_version, upgrade, version_of
from understudy.store.repository import Store

PROGRAM = """
import os, signal, sys
from sqlalchemy import event
from understudy.store.engine import make_engine
from understudy.store.migrate import upgrade

engine, left = make_engine(sys.argv[1]), [int(sys.argv[2])]

@event.listens_for(engine, "before_cursor_execute")
def count(connection, cursor, statement, *rest):
    left[0] -= not statement.startswith(("SELECT", "PRAGMA", "select", "show"))
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)

upgrade(engine)
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_killed_upgrade_can_be_run_again(backend: str, tmp_path: Path) -> None:
    url = database(backend, tmp_path, migrated=False)
    engine = make_engine(url)
    upgrade(engine, "0001")
    store = Store(engine)
    fill(store, 3)
    before = list(store.labels()), list(store.prompts())
    for statement in (2, 4):
        ended = subprocess.run([sys.executable, "-c", PROGRAM, url, str(statement)], check=False)
        assert ended.returncode == -signal.SIGKILL
        assert version_of(engine) == "0001"
        assert (list(store.labels()), list(store.prompts())) == before
    upgrade(engine)
    check_version(engine)
    assert (list(store.labels()), list(store.prompts())) == before
    engine.dispose()
