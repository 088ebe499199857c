"""Routes that a process beside the server answers."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from tests.gateways import plain_client, running

from understudy.web import apart
from understudy.web.access import Access, Account, Call, Route
from understudy.web.app import WebSettings, build_app

ROUTES = """
import os
from understudy.web.access import Access, ApiError, Content, Route

def who(call):
    print("noise")
    return {"account": call.me.name, "query": dict(call.query), "path": dict(call.path),
            "nice": os.nice(0), "pid": os.getpid()}

def slow(call):
    with open(call.query["pipe"]) as pipe:  # waits until somebody writes
        return {"said": pipe.read(), "calls": call.app.append(1) or len(call.app)}

def picture(call):
    return Content(b"<svg/>", "image/svg+xml")

def refuse(call):
    raise ApiError(409, "no", "Not today.", headers={"Retry-After": "3"}, more="x")

def lose(call):
    raise OSError("the disk is gone")

def fail(call):
    raise RuntimeError("a bug")

ROUTES = [
    Route("GET", path, Access.ACCOUNT, handler, apart=True)
    for path, handler in {
        "/api/who/{name}": who, "/api/slow": slow, "/api/picture.svg": picture,
        "/api/refuse": refuse, "/api/lose": lose, "/api/fail": fail,
    }.items()
]
"""
MAIN = """
from understudy.web.apart import answer_calls
if __name__ == "__main__":
    answer_calls(ROUTES, [])
"""


class Door:
    def account_of(self, token: str) -> Account | None:
        return Account("lab-1", "Änn", None, True, "active")


@contextmanager
def site(tmp_path: Path) -> Iterator[httpx2.Client]:
    """The application, and a browser."""
    script = tmp_path / "beside.py"
    script.write_text(ROUTES + MAIN)
    found: dict[str, list[Route]] = {}
    exec(ROUTES, found)
    app = build_app(
        found["ROUTES"],
        parts=None,
        door=Door(),
        settings=WebSettings(),
        templates=tmp_path,
        static=tmp_path,
        apart=[sys.executable, str(script)],
    )
    with running(app) as url, plain_client(base_url=url) as client:
        yield client


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[httpx2.Client]:
    with site(tmp_path) as client:
        yield client


def test_the_process_answers_and_is_another_one(browser: httpx2.Client) -> None:
    reply = browser.get("/api/who/you?b=2&a=1").json()
    assert reply["account"] == "Änn"
    assert (reply["path"], reply["query"]) == ({"name": "you"}, {"a": "1", "b": "2"})
    assert reply["pid"] != os.getpid()
    assert reply["nice"] >= min(19, os.nice(0) + apart.NICE)
    picture = browser.get("/api/picture.svg")
    assert (picture.content, picture.headers["content-type"]) == (b"<svg/>", "image/svg+xml")
    assert "content-security-policy" in picture.headers


def test_what_it_raises_is_what_the_browser_is_told(browser: httpx2.Client) -> None:
    refused = browser.get("/api/refuse")
    assert (refused.status_code, refused.headers["retry-after"]) == (409, "3")
    assert refused.json() == {"error": {"code": "no", "message": "Not today."}, "more": "x"}
    assert browser.get("/api/lose").status_code == 503
    assert browser.get("/api/fail").status_code == 500
    assert browser.get("/api/who/you").status_code == 200


def test_a_page_is_told_to_ask_again_and_what_was_begun_is_not_begun_again(
    browser: httpx2.Client, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(apart, "PATIENCE_S", 0.05)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    path, page = f"/api/slow?pipe={pipe}", {"Accept": "application/json"}
    for _ in range(3):
        reply = browser.get(path, headers=page)
        assert (reply.status_code, reply.json()) == (202, {"pending": True})
    pipe.write_text("done")
    while (reply := browser.get(path, headers=page)).status_code == 202:
        pass
    assert reply.json() == {"said": "done", "calls": 1}


def test_a_process_that_was_killed_is_started_again(browser: httpx2.Client) -> None:
    first = browser.get("/api/who/you").json()["pid"]
    os.kill(first, signal.SIGKILL)
    replies = [browser.get("/api/who/you") for _ in range(2)]
    assert {reply.status_code for reply in replies} <= {200, 503}
    assert replies[1].json()["pid"] != first


def test_it_ends_with_the_server(tmp_path: Path) -> None:
    with site(tmp_path) as browser:
        pid = browser.get("/api/who/you").json()["pid"]
        assert Path(f"/proc/{pid}").exists()
    assert not Path(f"/proc/{pid}").exists()


def test_only_what_changes_nothing_can_be_apart() -> None:
    with pytest.raises(ValueError, match="cannot be apart"):
        Route("POST", "/api/x", Access.OWNER, lambda call: {}, apart=True)


def test_a_call_holds_no_secret_and_equal_queries_are_one_call() -> None:
    route = Route("GET", "/api/x", Access.OWNER, lambda call: {}, apart=True)
    account = Account("lab-1", "A", None, True, "active")
    one, other = (
        apart._wanted(route, Call(None, account, {}, query, body=None, token="secret", address=""))
        for query in ({"a": "1", "b": "2"}, {"b": "2", "a": "1"})
    )
    assert one == other
    assert "secret" not in repr(one)
