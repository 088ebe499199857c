"""A client of the labelers' pages for programs: it sends the same requests as the browser.

    client = LabelingClient(httpx2.Client(base_url="http://127.0.0.1:8080"))
    client.accept(token, name="Ann", password="...")
    work(client, labeler)          # any `records.Labeler` answers until nothing is left

A request that fails because of the network or a busy store is sent again under the same id.
"""

import uuid
from collections.abc import Callable
from typing import Any

import httpx2

from understudy.records import Conversation, Labeler, Message, Prompt, Response

Json = dict[str, Any]


class Unwelcome(Exception):
    """The server refused a request; `code` says why."""

    def __init__(self, status: int, body: Json) -> None:
        super().__init__(f"{status}: {body.get('error', body)}")
        self.status, self.body = status, body
        self.code = str(body.get("error", {}).get("code", ""))


class LabelingClient:
    """One signed-in browser."""

    def __init__(self, http: httpx2.Client) -> None:
        self.http = http
        self.token = ""

    def get(self, path: str) -> Json:
        """GET a JSON route."""
        return _read(self.http.get(path))

    def post(self, path: str, body: Json | None = None, method: str = "POST") -> Json:
        """POST with the CSRF token, which is renewed when it has expired."""
        for last in (False, True):
            if not self.token:
                self.token = self.get("/api/session")["csrf_token"]
            headers = {"X-CSRF-Token": self.token}
            reply = self.http.request(method, path, json=body or {}, headers=headers)
            try:
                found = _read(reply)
            except Unwelcome as error:
                if error.code != "csrf" or last:
                    raise
                self.token = ""
            else:
                self.token = found.get("csrf_token", self.token)
                return found
        raise AssertionError

    def accept(self, token: str, *, name: str, password: str) -> Json:
        """Use a one-time link."""
        body = {"token": token, "name": name, "password": password}
        return self.post("/api/invitation", body)

    def sign_in(self, name: str, password: str) -> Json:
        """Sign in."""
        return self.post("/api/sign-in", {"name": name, "password": password})

    def read_instructions(self) -> Json:
        """Fetch the current instructions and confirm reading them."""
        version = self.get("/api/instructions")["version"]
        return self.post("/api/instructions", {"version": version})

    def next(self, kind: str | None = None) -> Json | None:
        """The current or next assignment, or None when there is nothing to do."""
        found: Json | None = self.post("/api/next", {"kind": kind})["assignment"]
        return found

    def save_draft(self, assignment: str, version: int, body: Json) -> Json:
        """Save a draft."""
        path = f"/api/assignments/{assignment}/draft"
        return self.post(path, {"version": version, "body": body}, method="PUT")

    def submit(self, assignment: str, answer: Json) -> Json:
        """Send a submission; its id makes resending harmless."""
        return self.post(f"/api/assignments/{assignment}/submit", answer)

    def skip(self, assignment: str, reason: str = "unclear") -> Json:
        """Give an item back."""
        body = {"id": str(uuid.uuid4()), "reason": reason}
        return self.post(f"/api/assignments/{assignment}/skip", body)


def work(
    client: LabelingClient,
    labeler: Labeler,
    *,
    most: int | None = None,
    kind: str | None = None,
    on_done: Callable[[Json, Json], None] = lambda assignment, reply: None,
) -> int:
    """Let a labeler do items until none is left (or `most` are done); returns how many.

    Skips items of the kind "write", which the protocol does not cover.
    """
    done = 0
    while most is None or done < most:
        assignment = client.next(kind)
        if assignment is None:
            break
        answer = answer_of(labeler, assignment)
        if answer is None:
            client.skip(assignment["id"])
            continue
        on_done(assignment, client.submit(assignment["id"], answer))
        done += 1
    return done


def answer_of(labeler: Labeler, assignment: Json) -> Json | None:
    """A labeler's submission for an assignment; None to skip it."""
    if assignment["kind"] == "write":
        return None
    prompt = prompt_of(assignment)
    shared = {"id": str(uuid.uuid4()), "seconds": None, "ui": "client"}
    if assignment["kind"] == "demonstrate":
        given = labeler.demonstrate(prompt)
        if given is None:
            return None
        return {**shared, "outcome": "demonstrated", "text": given.response}
    responses = [
        Response(
            id=one["id"], prompt_id=prompt.id, prompt=prompt.prompt, response=one["text"], model="?"
        )
        for one in assignment["answers"]
    ]
    ratings = {}
    for response in responses:  # each alone first
        rating = labeler.rate(prompt, response)
        ratings[response.id] = {"likert": rating.likert, "flags": dict(rating.flags)}
    ranking = labeler.rank(prompt, responses)
    if ranking is None:
        return None
    tiers = [[responses[index].id for index in tier] for tier in ranking.tiers]
    return {**shared, "outcome": "ranked", "ratings": ratings, "tiers": tiers}


def prompt_of(assignment: Json) -> Prompt:
    """The prompt as a labeler reads it; its id here is the assignment's."""
    turns = [Message(turn["role"], turn["content"]) for turn in assignment["prompt"]["turns"]]
    alone = len(turns) == 1 and turns[0].role == "user"
    text: Conversation = turns[0].content if alone else tuple(turns)
    return Prompt(id=assignment["id"], prompt=text, user_id="unknown")


def _read(reply: httpx2.Response) -> Json:
    try:
        body = reply.json()
    except ValueError:
        body = {}
    if reply.status_code >= 400:
        raise Unwelcome(reply.status_code, body if isinstance(body, dict) else {})
    return dict(body)
