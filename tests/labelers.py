"""The labelers' pages, running, with people signed in; time stands until a test moves it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
from tests.gateways import plain_client, running

from understudy.labeling.app import build_label_app
from understudy.labeling.clock import stamp
from understudy.labeling.parts import LabelApp
from understudy.records import FLAGS, Prompt, Response
from understudy.store import Project, Store
from understudy.store.accounts.people import NewAccount, invite, set_stage, token_id
from understudy.store.accounts.sessions import open_session
from understudy.store.engine import reading, writing
from understudy.store.labeling_tables import invitations
from understudy.store.queue.plan import NewItem, Overlap, add_items, to_demonstrate, to_rank
from understudy.store.rubrics import acknowledge
from understudy.web.app import WebSettings
from understudy.web.sessions import csrf_token, new_token, session_id

PASSWORD = "four good words here"
SINGLE = Overlap(share=0.0, wanted=1, most=1)


@dataclass
class Clock:
    """Says what it is told."""

    now: datetime = datetime(2026, 3, 1, 9, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **duration: float) -> None:
        self.now += timedelta(**duration)


@dataclass
class Browser:
    """One browser; `account` is who is signed in there."""

    http: httpx2.Client
    token: str = ""
    account: str = ""

    def get(self, path: str, **options: Any) -> httpx2.Response:
        return self.http.get(path, **options)

    def post(self, path: str, body: Any = None, method: str = "POST") -> httpx2.Response:
        headers = {"X-CSRF-Token": csrf_token(self.http.cookies.get("understudy") or "")}
        return self.http.request(method, path, json={} if body is None else body, headers=headers)

    def next(self, kind: str | None = None) -> dict[str, Any] | None:
        reply = self.post("/api/next", {"kind": kind})
        assert reply.status_code == 200, reply.text
        return reply.json()["assignment"]

    def submit(self, assignment: dict[str, Any], answer: dict[str, Any]) -> httpx2.Response:
        return self.post(f"/api/assignments/{assignment['id']}/submit", answer)


@dataclass
class Site:
    """A server and its store."""

    url: str
    parts: LabelApp
    clock: Clock
    browsers: list[Browser] = field(default_factory=list)

    @property
    def store(self) -> Store:
        return self.parts.store

    def browser(self) -> Browser:
        """Nobody's yet, with the cookie that a first page gives."""
        browser = Browser(plain_client(base_url=self.url))
        self.browsers.append(browser)
        browser.get("/api/session")
        return browser

    def person(self, name: str = "", **options: Any) -> Browser:
        """Somebody who has come as far as `stage`, signed in without a password."""
        stage = options.pop("stage", "active")
        read = options.pop("read", True)
        new = NewAccount(name=name or f"person {uuid4().hex[:8]}", **{"screen": False, **options})
        account = self.account(new)
        if read:
            acknowledge(self.store, account, self.parts.version(), self.parts.now())
        with writing(self.store.engine) as connection:
            set_stage(connection, account, stage)
        browser = self.browser()
        self.sign_in(browser, account)
        return browser

    def account(self, new: NewAccount) -> str:
        """Invite; the account's id."""
        token = self.invite(new)
        with reading(self.store.engine) as connection:
            query = invitations.select().where(invitations.c.id == token_id(token))
            return connection.execute(query).mappings().one()["account_id"]

    def invite(self, new: NewAccount) -> str:
        """The token of the one-time link."""
        until = stamp(self.clock() + timedelta(days=7))
        return invite(self.store, new, by=None, at=self.parts.now(), expires_at=until)

    def sign_in(self, browser: Browser, account: str) -> None:
        """As if by password, which takes longer."""
        browser.token, browser.account = new_token(), account
        open_session(self.store, session_id(browser.token), account, self.parts.now())
        browser.http.cookies.clear()
        browser.http.cookies.set("understudy", browser.token, domain="127.0.0.1")


@contextmanager
def site(project: Project, **options: Any) -> Iterator[Site]:
    """Serve a project's pages."""
    clock = Clock()
    store = project.open_store(pooled=True)
    parts = LabelApp(store=store, project=project, clock=clock, **options)
    with running(build_label_app(parts, WebSettings())) as url:
        found = Site(url, parts, clock)
        yield found
        for browser in found.browsers:
            browser.http.close()
    store.engine.dispose()


def fill(store: Store, num: int = 4, *, answers: int = 4, overlap: Overlap = SINGLE) -> None:
    """Prompts p00... of the training split with answers "0", "1", ... of secret models, queued in
    their order for ranking; without answers, for demonstrations."""
    prompts = [
        Prompt(id=f"p{i:02}", prompt=f"Question {i}?", user_id=f"u{i}", split="train")
        for i in range(num)
    ]
    store.add_prompts(prompts)
    store.set_intake(prompts, [])
    store.add_responses(
        Response(
            id=f"{p.id}-secretmodel{k}",
            prompt_id=p.id,
            prompt=p.prompt,
            response=f"{k}",
            model=f"secretmodel{k}",
        )
        for p in prompts
        for k in range(answers)
    )
    new = to_rank(store, most=9) if answers else to_demonstrate(store)
    queue(store, new, overlap)


def queue(store: Store, new: list[NewItem], overlap: Overlap = SINGLE) -> None:
    """Into the queue."""
    add_items(store, new, overlap=overlap, seed=0, at="2026-01-01T00:00:00.000000+00:00")


def ranked(assignment: dict[str, Any], *, best_last: bool = False, **more: Any) -> dict[str, Any]:
    """An answer that ranks by the answers' text, "0" the best unless `best_last`."""
    order = sorted(assignment["answers"], key=lambda one: one["text"], reverse=best_last)
    return {
        "id": str(uuid4()),
        "outcome": "ranked",
        "ratings": {
            one["id"]: {"likert": 4, "flags": dict.fromkeys(FLAGS, False), "note": ""}
            for one in order
        },
        "tiers": [[one["id"]] for one in order],
        **more,
    }


def demonstrated(text: str = "A good answer.", **more: Any) -> dict[str, Any]:
    """A demonstration."""
    return {"id": str(uuid4()), "outcome": "demonstrated", "text": text, **more}
