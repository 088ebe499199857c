"""A running server on each backend."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.labelers import Site, site
from tests.stores import BACKENDS, make_project


@pytest.fixture(params=BACKENDS)
def pages(request, tmp_path: Path) -> Iterator[Site]:
    """The labelers' pages of an empty project."""
    with site(make_project(request.param, tmp_path / "project")) as found:
        yield found


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Site]:
    """The same on SQLite alone, for what the database has no part in."""
    with site(make_project("sqlite", tmp_path / "project")) as found:
        yield found
