"""A labeling server on loopback with a real store, and what tests put into it."""

import socket
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select, update
from tests.stores import make_project

from understudy.labeling.clock import stamp, utc_now
from understudy.labeling.plan import PlanConfig, plan
from understudy.records import Prompt, Response
from understudy.store import Project, Store, open_project
from understudy.store.accounts.people import NewAccount, accept, invite
from understudy.store.accounts.sessions import open_session
from understudy.store.engine import reading, writing
from understudy.store.labeling_tables import (
    accounts,
    assignments,
    gold_items,
    item_responses,
    items,
    submissions,
)
from understudy.store.rows import packed
from understudy.store.rubrics import acknowledge, newest_version
from understudy.web.passwords import hash_password
from understudy.web.sessions import new_token, session_id

PASSWORD = "a long enough password"
LATER = "2999-01-01T00:00:00.000000+00:00"
MODEL = "secret-model-7b"
"""No page may ever say which model wrote an answer."""

TIDES = (
    "The moon pulls on the sea. Where the sea is nearer to the moon the pull is stronger, so the "
    "water rises. As the earth turns, each coast passes through two such bulges every day.",
    "The moon pulls on the sea. Where the sea is closer to the moon the pull is stronger, and the "
    "water rises there; the earth turns, so each coast sees two high tides a day. The sun does "
    "the same, more weakly.",
    "Tides come twice a day because of the moon, mostly.\n\nImagine a bath in which you rock "
    "about: the water rises at one end and then at the other.",
    "Tides are caused by whales.\n\nThey all breathe in at the same time.",
    "I would rather talk about something else.",
    " ".join(f"Sentence {i} says a little more about the moon and the sea." for i in range(60)),
)


def prompt(name: str, text: Any, split: Any = "train", use_case: str | None = None) -> Prompt:
    """A prompt of a user of its own."""
    return Prompt(id=name, prompt=text, user_id=f"user-{name}", split=split, use_case=use_case)


def answers(to: Prompt, texts: Sequence[str] = TIDES) -> list[Response]:
    """Sampled answers."""
    return [
        Response(id=f"{to.id}-r{i}", prompt_id=to.id, prompt=to.prompt, response=text, model=MODEL)
        for i, text in enumerate(texts)
    ]


@dataclass
class Site:
    """The project, its store, and the server in front of it."""

    project: Project
    store: Store
    port: int
    process: subprocess.Popen[str] | None = None
    options: list[str] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    """Accounts by name, where a test keeps them."""

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Run `understudy label` until it answers."""
        command = [sys.executable, "-m", "understudy.cli", "label"]
        command += ["--project", str(self.project.folder), "--port", str(self.port), *self.options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("labeling at"), line + self.process.stdout.read()
        _wait_for(f"{self.url}/health")

    def stop(self) -> None:
        """End the server, at once."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def invite(self, name: str, **what: Any) -> str:
        """The link of an invitation."""
        now = stamp(utc_now())
        token = invite(self.store, NewAccount(name=name, **what), by=None, at=now, expires_at=LATER)
        return f"{self.url}/invitation#{token}"

    def account(
        self, name: str, *, role: str | None = "training", ready: bool = True, **what: Any
    ) -> str:
        """An account that can sign in, past all gates unless `ready` is false; its id."""
        token = self.invite(name, role=role, screen=False, **what).split("#")[1]
        now = stamp(utc_now())
        account_id = accept(self.store, token, name, _hashed(), now)
        assert account_id is not None
        if ready:
            version = newest_version(self.store)
            assert version is not None, "start the server first: it brings the instructions"
            acknowledge(self.store, account_id, version, now)
            with writing(self.store.engine) as connection:
                change = update(accounts).where(accounts.c.id == account_id)
                connection.execute(change.values(stage="active"))
        return account_id

    def session(self, name: str) -> str:
        """The cookie of an account that is signed in."""
        with reading(self.store.engine) as connection:
            query = select(accounts.c.id).where(accounts.c.name == name)
            account_id = connection.execute(query).scalar_one()
        token = new_token()
        open_session(self.store, session_id(token), account_id, stamp(utc_now()))
        return token

    def add(self, prompts: Sequence[Prompt], responses: Sequence[Response] = ()) -> None:
        """Put prompts and answers into the store, and the queue in order."""
        self.store.add_prompts(prompts)
        self.store.set_intake(prompts, [])
        self.store.add_responses(responses)

    def plan(self, *kinds: str, **options: Any) -> None:
        """Fill the queue."""
        settings: dict[str, Any] = dict(project=self.project.folder, kinds=kinds, overlap=0.0)
        plan(PlanConfig(**{**settings, **options}))

    def make_gold(self, item_id: str, use: str, author: str, answer: dict[str, Any]) -> None:
        """A researcher's answer to an item."""
        row = dict(item_id=item_id, use=use, author_id=author, why="The whales are made up.")
        with writing(self.store.engine) as connection:
            connection.execute(
                insert(gold_items).values(**row, answer=packed(answer), created_at=stamp(utc_now()))
            )
            change = update(items).where(items.c.id == item_id)
            connection.execute(change.values(pool="gold", wanted=10**6, max_wanted=10**6))

    def items(self, kind: str | None = None) -> list[Any]:
        """Rows of the queue."""
        query = select(items).order_by(items.c.prompt_id)
        query = query if kind is None else query.where(items.c.kind == kind)
        with reading(self.store.engine) as connection:
            return list(connection.execute(query))

    def responses_of(self, item_id: str) -> list[str]:
        """Ids of an item's answers."""
        query = select(item_responses.c.response_id).where(item_responses.c.item_id == item_id)
        with reading(self.store.engine) as connection:
            return list(connection.execute(query.order_by(item_responses.c.place)).scalars())

    def sent(self, account_id: str) -> list[dict[str, Any]]:
        """What an account has submitted, oldest first."""
        query = select(submissions).where(submissions.c.account_id == account_id)
        with reading(self.store.engine) as connection:
            rows = connection.execute(query.order_by(submissions.c.created_at)).mappings()
            return [dict(row) for row in rows]

    def assignments(self, account_id: str) -> list[dict[str, Any]]:
        """What an account has had in hand."""
        query = select(assignments).where(assignments.c.account_id == account_id)
        with reading(self.store.engine) as connection:
            return [dict(row) for row in connection.execute(query).mappings()]


def make_site(folder: Path, *options: str) -> Site:
    """A new project with a server that has not been started."""
    project = make_project("sqlite", folder / "project")
    with (project.folder / "project.toml").open("a") as file:
        file.write('groups = ["nurses", "parents"]\n')
    return _site(project, *options)


def site_of(folder: Path) -> Site:
    """The same for a project that is there."""
    return _site(open_project(folder))


def _site(project: Project, *options: str) -> Site:
    return Site(project, project.open_store(), free_port(), options=list(options))


def _hashed(cache: list[str] = []) -> str:  # noqa: B006 - one slow hash for all accounts
    if not cache:
        cache.append(hash_password(PASSWORD))
    return cache[0]


def free_port() -> int:
    """A port that nothing listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_for(url: str) -> None:
    """Ask until it answers: the port is bound right after the line is printed."""
    for _ in range(10_000):
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            continue
    raise AssertionError(f"{url} does not answer")
