"""Every test of the store runs on SQLite and on PostgreSQL."""

from pathlib import Path

import pytest
from tests.stores import BACKENDS, database, make_project

from understudy.store.engine import make_engine
from understudy.store.project import Project
from understudy.store.repository import Store


@pytest.fixture(params=BACKENDS)
def backend(request) -> str:
    return request.param


@pytest.fixture
def store(backend: str, tmp_path: Path):
    engine = make_engine(database(backend, tmp_path))
    yield Store(engine)
    engine.dispose()


@pytest.fixture
def project(backend: str, tmp_path: Path) -> Project:
    return make_project(backend, tmp_path / "project")
