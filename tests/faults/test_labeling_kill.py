"""Labelers' pages that are killed under load keep every label that they acknowledged, once."""

import json
import signal
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import select
from tests.gateways import in_a_process, plain_client
from tests.labelers import fill, ranked
from tests.labeling_client import LabelingClient
from tests.stores import make_project

from understudy.labeling.app import ensure_rubric
from understudy.labeling.clock import stamp, utc_now
from understudy.labeling.parts import LabelApp
from understudy.records import Ranking, Rating
from understudy.store import Project, Store
from understudy.store.accounts.people import NewAccount, all_accounts, invite
from understudy.store.accounts.sessions import open_session
from understudy.store.engine import bare, reading
from understudy.store.labeling_tables import assignments, items, submissions
from understudy.store.queue.plan import Overlap
from understudy.store.rubrics import acknowledge
from understudy.web.sessions import new_token, session_id

LABELERS = 6


@dataclass
class Person:
    """A labeler whose browser outlives the server."""

    cookie: str
    acknowledged: dict[str, dict] = field(default_factory=dict)
    """Id of a submission -> the reply."""
    pending: tuple[str, dict] | None = None
    """An answer that was sent and of which nothing was heard."""

    def work(self, url: str, most: int = 10**6) -> None:
        """Answer items until none is left, or the server is gone."""
        with plain_client(base_url=url) as http:
            http.cookies.set("understudy", self.cookie, domain="127.0.0.1")
            client = LabelingClient(http)
            try:
                while most:
                    if self.pending is None and not self._next(client):
                        return
                    assignment, answer = self.pending
                    self.acknowledged[answer["id"]] = client.submit(assignment, answer)
                    self.pending = None
                    most -= 1
            except httpx2.TransportError:
                return

    def _next(self, client: LabelingClient) -> bool:
        assignment = client.next()
        if assignment is None:
            return False
        answer = ranked(assignment)
        if assignment["draft"] is None:
            client.save_draft(assignment["id"], 0, {"tiers": answer["tiers"]})
        self.pending = (assignment["id"], answer)
        return True


def start(folder: Path) -> tuple[subprocess.Popen, str]:
    """The pages in a process of their own."""
    return in_a_process("label", "--project", str(folder))


def team(project: Project, store: Store) -> list[Person]:
    """Labelers who are signed in and have read the instructions."""
    ensure_rubric(LabelApp(store=store, project=project))
    now = stamp(utc_now())
    for number in range(LABELERS):
        new = NewAccount(name=f"l{number}", role="training", screen=False)
        invite(store, new, by=None, at=now, expires_at=now)
    made = []
    for account in all_accounts(store):
        acknowledge(store, account["id"], "default-1", now)
        made.append(Person(new_token()))
        open_session(store, session_id(made[-1].cookie), account["id"], now)
    return made


def together(people: list[Person], url: str) -> list[threading.Thread]:
    threads = [threading.Thread(target=person.work, args=(url,)) for person in people]
    for thread in threads:
        thread.start()
    return threads


def finish(people: list[Person], url: str) -> None:
    """Until there is nothing for anybody: the last answer to an item may ask for one more, when
    the others have already been told that there is none.
    """
    before = -1
    while (count := sum(len(person.acknowledged) for person in people)) > before:
        before = count
        for thread in together(people, url):
            thread.join()


@pytest.mark.thorough
@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
@pytest.mark.parametrize(
    "kills", [2, pytest.param(50, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_no_acknowledged_label_is_lost_or_doubled(tmp_path: Path, backend: str, kills: int) -> None:
    project = make_project(backend, tmp_path / "project")
    store = project.open_store()
    fill(store, kills * 15 + 10, overlap=Overlap(0.3, 3, 4))
    people = team(project, store)
    count = 0
    for kill in range(kills):
        process, url = start(project.folder)
        threads = together(people, url)
        while count + 3 + 7 * kill % 12 > sum(len(person.acknowledged) for person in people):
            time.sleep(0.001)  # yields to the threads; the count decides, not the clock
            assert any(thread.is_alive() for thread in threads)
        process.send_signal(signal.SIGKILL)
        for thread in threads:
            thread.join()
        process.communicate()  # ends with it, and closes its pipes
        count = sum(len(person.acknowledged) for person in people)
        check(store, people)
    process, url = start(project.folder)
    finish(people, url)
    check(store, people)
    for person in people:  # sent once more, everything gets the reply that it had
        with plain_client(base_url=url) as http:
            http.cookies.set("understudy", person.cookie, domain="127.0.0.1")
            client = LabelingClient(http)
            name, reply = next(iter(person.acknowledged.items()))
            with reading(store.engine) as connection:
                query = select(submissions.c.body).where(submissions.c.id == name)
                body = json.loads(connection.execute(query).scalar_one())
            assert client.submit(reply["assignment"], body) == reply
    process.terminate()
    process.communicate()
    with reading(store.engine) as connection:
        rows = connection.execute(select(items)).mappings().all()
    assert {(row["state"], row["num_live"]) for row in rows} == {("done", 0)}, "no lease is lost"
    assert all(row["num_done"] == row["wanted"] for row in rows)
    store.engine.dispose()


def check(store: Store, people: list[Person]) -> None:
    """What was acknowledged is there once and whole; no slot and no item is held twice."""
    if store.engine.dialect.name == "sqlite":
        with bare(store.engine) as connection:
            found = connection.exec_driver_sql("PRAGMA integrity_check").scalar()
            assert found == "ok"
    with reading(store.engine) as connection:
        sent = Counter(connection.execute(select(submissions.c.id)).scalars())
        held = connection.execute(select(assignments)).mappings().all()
    acknowledged = {name for person in people for name in person.acknowledged}
    waiting = {person.pending[1]["id"] for person in people if person.pending is not None}
    assert acknowledged <= set(sent) <= acknowledged | waiting
    assert set(sent.values()) <= {1}
    parts: dict[str, list[type]] = {}
    for label in store.labels():
        name = label.id[2:38]  # k-ID, a-ID-PLACE
        parts.setdefault(name, []).append(type(label))
    assert set(parts) == set(sent)
    for kinds in parts.values():
        assert Counter(kinds) == {Ranking: 1, Rating: 4}
    slots = Counter((row["item_id"], row["slot"]) for row in held if row["slot"] is not None)
    twice = Counter((row["item_id"], row["account_id"]) for row in held)
    assert set(slots.values()) <= {1}
    assert set(twice.values()) <= {1}
    states = Counter(row["state"] for row in held)
    assert states["done"] == len(sent)
