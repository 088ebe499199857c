"""A project with a team at work, over HTTP: for tests of what its owner sees."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx2
from tests.gateways import plain_client, running
from tests.labeling_client import LabelingClient, work
from tests.stores import make_project
from tests.unit.trust.people import Person

from understudy.labeling.clock import stamp, utc_now
from understudy.labeling.plan import PlanConfig, plan
from understudy.labeling.serve import LabelConfig, make_app
from understudy.records import Prompt, Response
from understudy.store import Project, Store
from understudy.store.accounts.people import NewAccount, account_named, invite

PASSWORD = "correct horse battery"
NUM_ITEMS = 12


def fill(project: Project, num: int = NUM_ITEMS, start: int = 0) -> Store:
    """Prompts of which a third is for evaluation, with four answers each: "3" is the best."""
    store = project.open_store()
    prompts = [
        Prompt(
            id=f"p{i:02}",
            prompt=f"Question {i}?",
            user_id=f"u{i}",
            split="test" if i % 3 == 2 else "train",
            use_case=("chat", "open_qa")[i % 2],
        )
        for i in range(start, start + num)
    ]
    store.add_prompts(prompts)
    store.set_intake(prompts, [])
    store.add_responses(
        Response(
            id=f"{p.id}-{k}", prompt_id=p.id, prompt=p.prompt, response=str(k), model=f"secret-{k}"
        )
        for p in prompts
        for k in range(4)
    )
    plan(PlanConfig(project=project.folder, kinds=("rank",), overlap=1.0, labels_per_overlap=3))
    return store


@dataclass
class Team:
    """A running server and who is signed in there."""

    project: Project
    store: Store
    url: str
    browsers: list[httpx2.Client] = field(default_factory=list)

    def client(self) -> LabelingClient:
        """A browser with nobody signed in."""
        self.browsers.append(plain_client(base_url=self.url, timeout=30))
        return LabelingClient(self.browsers[-1])

    def join(self, name: str, **new) -> LabelingClient:
        """Invite somebody, who accepts and reads the instructions."""
        at = stamp(utc_now())
        token = invite(
            self.store, NewAccount(name=name, **new), by=None, at=at, expires_at="2100-01-01"
        )
        client = self.client()
        account = client.accept(token, name=name, password=PASSWORD)["account"]
        if account["stage"] == "instructions":
            client.read_instructions()
        return client

    def labeler(self, name: str, role: str = "training") -> LabelingClient:
        """Somebody at work."""
        return self.join(name, role=role, screen=False)

    def owner(self) -> LabelingClient:
        """Who runs the project."""
        return self.join("Olga", owner=True, screen=False)

    def id_of(self, name: str) -> str:
        """An account's id."""
        return account_named(self.store, name)["id"]


@contextmanager
def team(backend: str, folder: Path) -> Iterator[Team]:
    """The server, with a full queue and nobody there yet."""
    project = make_project(backend, folder)
    store = fill(project)
    app = make_app(LabelConfig(project=project.folder))
    try:
        with running(app) as url:
            made = Team(project=project, store=store, url=url)
            try:
                yield made
            finally:
                for browser in made.browsers:
                    browser.close()
    finally:
        app.state.frame.parts.store.engine.dispose()
        store.engine.dispose()


class Careful(Person):
    """Says of an answer what its number says, whoever asks when."""

    def _rng(self, prompt):
        return random.Random(f"{self.id}/{prompt.prompt}")

    def rate(self, prompt, response):
        found = super().rate(prompt, response)
        return replace(found, likert=2 * int(response.response) + 1)

    def demonstrate(self, prompt):
        return None


def label_everything(client: LabelingClient, person: Person, most: int | None = None) -> int:
    """Work until nothing is left."""
    return work(client, person, most=most)
