"""Stores for tests, on both backends, and the records that they are filled with."""

import shutil
import tempfile
from functools import cache
from pathlib import Path

import pytest
from tests.postgres import fresh_database, server

from understudy.records import Demonstration, LabelerInfo, Prompt, Ranking, Rating, Response
from understudy.store.engine import make_engine
from understudy.store.migrate import upgrade
from understudy.store.project import FILE, Project
from understudy.store.repository import Store

BACKENDS = ("sqlite", pytest.param("postgresql", marks=pytest.mark.thorough))
"""SQLite every day, PostgreSQL in CI."""


def database(backend: str, folder: Path, migrated: bool = True) -> str:
    """The URL of a new database; skips where PostgreSQL is not installed."""
    if backend == "postgresql":
        if server() is None:
            pytest.skip("PostgreSQL is not installed (Debian package postgresql)")
        return fresh_database(migrated)
    path = folder / "store.sqlite"
    if migrated:
        shutil.copy(_template(), path)
    return f"sqlite:///{path}"


@cache
def _template() -> Path:
    path = Path(tempfile.mkdtemp(prefix="store-")) / "store.sqlite"
    engine = make_engine(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    return path


def make_project(backend: str, folder: Path) -> Project:
    """A project as `understudy new` makes it."""
    folder.mkdir(parents=True, exist_ok=True)
    url = database(backend, folder)
    store = "sqlite:///store.sqlite" if backend == "sqlite" else url
    (folder / FILE).write_text(f'store = "{store}"\nsplit_key = "a key for tests"\n')
    project = Project(folder=folder, store=store, split_key="a key for tests")
    project.datasets.mkdir()
    project.runs.mkdir()
    return project


LABELERS = [
    LabelerInfo(id="l1", role="training"),
    LabelerInfo(id="l2", role="training", group="b", screening={"agreement": 0.8}),
    LabelerInfo(id="h1", role="held_out"),
    LabelerInfo(id="s1", role="researcher"),
]


def fill(store: Store, num_prompts: int = 6) -> None:
    """Prompts of users u0..u2 with two responses each, and labels of every kind by l1 and h1."""
    store.add_labelers(LABELERS)
    store.add_rubric("v1", "Be helpful.", ["truthful", "harmless", "helpful"])
    prompts = [
        Prompt(
            id=f"p{i}",
            prompt=f"Question {i}?",
            user_id=f"u{i % 3}",
            created_at=f"2026-01-{i % 28 + 1:02}",
        )
        for i in range(num_prompts)
    ]
    store.add_prompts(prompts)
    store.add_responses(answer(prompt, k) for prompt in prompts for k in range(2))
    for labeler in LABELERS[0], LABELERS[2]:
        store.add_labels(label for p in prompts for label in labels_of(p, labeler))


def answer(prompt: Prompt, number: int) -> Response:
    """A made-up response."""
    return Response(
        id=f"{prompt.id}-r{number}",
        prompt_id=prompt.id,
        prompt=prompt.prompt,
        response=f"Answer {number} to {prompt.id}",
        model="sft",
        seed=2**40,
        logprob=-1.5,
    )


def labels_of(prompt: Prompt, labeler: LabelerInfo) -> list[Demonstration | Rating | Ranking]:
    """One label of each kind."""
    shared = dict(prompt_id=prompt.id, labeler_id=labeler.id, rubric="v1")
    texts = tuple(answer(prompt, k).response for k in range(2))
    name = f"{prompt.id}-{labeler.id}"
    return [
        Demonstration(id=f"d-{name}", prompt=prompt.prompt, response="A good answer.", **shared),
        Rating(id=f"a-{name}", response_id=f"{prompt.id}-r0", likert=6, note="=1+1", **shared),
        Ranking(
            id=f"k-{name}",
            prompt=prompt.prompt,
            responses=texts,
            tiers=((1,), (0,)),
            labeler_role=labeler.role,
            **shared,
        ),
    ]
