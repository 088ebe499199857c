"""A small application of a few routes, over HTTP."""

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.gateways import plain_client, running

from understudy.web.access import (
    Access,
    Account,
    ApiError,
    Body,
    Call,
    Content,
    Download,
    Page,
    Route,
)
from understudy.web.app import THREADS, WebSettings, build_app
from understudy.web.sessions import csrf_token, new_token

TOKEN = new_token()


class Text(Body):
    text: str


class Door:
    def account_of(self, token: str) -> Account | None:
        return (
            Account("lab-1", "<b>Ann</b>", "training", False, "active") if token == TOKEN else None
        )


def say(call: Call) -> dict[str, Any]:
    if not call.query:
        raise ApiError(400, "invalid", "Say something.")
    return {"said": call.query["said"]}


def fail(call: Call) -> dict[str, Any]:
    raise RuntimeError("the secret is 1234")


def lose(call: Call) -> dict[str, Any]:
    raise OSError("the store at sqlite:///x cannot be used: database or disk is full")


class Gate:
    """A route that answers once it is opened."""

    def __init__(self) -> None:
        self.inside, self.open = threading.Semaphore(0), threading.Event()

    def wait(self, call: Call) -> dict[str, Any]:
        self.inside.release()
        self.open.wait()
        return {}


GATE = Gate()


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("app")
    (folder / "static").mkdir()
    (folder / "static" / "a.js").write_text("let a;")
    (folder / "static" / "secret.toml").write_text("key = 1")
    (folder / "hello.html").write_text("{{ account.name if account }} {{ csrf_token }}")
    (folder / "error.html").write_text("{{ status }} {{ message }}")
    (folder / "part.html").write_text("<p>{{ said }}</p>")
    file = folder / "x.csv"
    file.write_text("<script>alert(1)</script>")
    routes = [
        Route("GET", "/hello", Access.PUBLIC, lambda call: Page("hello.html")),
        Route("GET", "/mine", Access.ACCOUNT, lambda call: Page("hello.html")),
        Route("GET", "/all", Access.OWNER, lambda call: Page("hello.html")),
        Route(
            "POST", "/api/echo", Access.PUBLIC, lambda c: {"t": c.body.text}, Text, max_bytes=2000
        ),
        Route("GET", "/api/file", Access.PUBLIC, lambda call: Download(file, "é.csv")),
        Route("GET", "/api/plot", Access.PUBLIC, lambda call: Content(b"<svg/>", "image/svg+xml")),
        Route("GET", "/api/part", Access.PUBLIC, say, part="part.html"),
        Route("GET", "/api/fail", Access.PUBLIC, fail),
        Route("GET", "/api/lose", Access.PUBLIC, lose),
        Route("GET", "/lose", Access.PUBLIC, lose),
        Route("POST", "/api/wait", Access.PUBLIC, GATE.wait),
    ]
    app = build_app(
        routes,
        parts=None,
        door=Door(),
        settings=WebSettings(stall_s=0.2),
        templates=folder,
        static=folder / "static",
    )
    with running(app) as address:
        yield address


@pytest.fixture
def browser(url: str) -> Iterator[httpx2.Client]:
    with plain_client(base_url=url) as client:
        client.cookies.set("understudy", TOKEN, domain="127.0.0.1")
        client.headers["X-CSRF-Token"] = csrf_token(TOKEN)
        yield client


def test_what_a_page_shows_is_escaped_and_its_token_is_the_cookies(browser) -> None:
    reply = browser.get("/mine")
    assert reply.text == f"&lt;b&gt;Ann&lt;/b&gt; {csrf_token(TOKEN)}"


def test_a_reply_is_json_or_escaped_html_as_asked_and_a_refusal_always_json(browser) -> None:
    path, html = "/api/part?said=<script>", {"Accept": "text/html, application/json"}
    assert browser.get(path).json() == {"said": "<script>"}
    part = browser.get(path, headers=html)
    assert part.text == "<p>&lt;script&gt;</p>"
    assert part.headers["content-type"] == "text/html; charset=utf-8"
    refused = browser.get("/api/part", headers=html)
    assert (refused.status_code, refused.json()["error"]["message"]) == (400, "Say something.")


def test_a_page_sends_who_may_not_see_it_where_they_can_go_on(browser) -> None:
    reply = browser.get("/all")
    assert (reply.status_code, reply.text) == (
        403,
        "403 Only an owner of the project may do this.",
    )
    browser.cookies.clear()
    reply = browser.get("/mine")
    assert (reply.status_code, reply.headers["location"]) == (303, "/sign-in?then=/mine")


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"text": "hi"}, 200, None),
        ({"text": "\\u0000"}, 200, None),  # the six characters, not the one that they spell
        ({"text": 3}, 400, "text: Input should be a valid string"),
        ({}, 400, "text: Field required"),
        ({"text": "x", "other": 1}, 400, "other: Extra inputs are not permitted"),
        ([], 400, "Input should be an object"),
        ({"text": "a\0b"}, 400, "A text contains a NUL character; remove it."),
        ({"text": "x" * 2000}, 413, "This is too large: the limit is 2,000 bytes."),
    ],
)
def test_a_body_is_what_the_route_says(browser, body: Any, status: int, says: str | None) -> None:
    reply = browser.post("/api/echo", json=body)
    assert reply.status_code == status
    assert reply.json() == {"t": body["text"]} if says is None else says in reply.text


@pytest.mark.parametrize("raw", [b"{", b"[" * 1500, b'{"text": "\\ud800"}', b"\xff\xfe", b"null"])
def test_what_is_no_json_is_refused_in_one_sentence(browser, raw: bytes) -> None:
    reply = browser.post("/api/echo", content=raw, headers={"Content-Type": "application/json"})
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "invalid"


def request(url: str, *lines: str, body: bytes = b"") -> int:
    """A request sent by hand: the status."""
    port = int(url.rpartition(":")[2])
    head = [*lines, f"Cookie: understudy={TOKEN}", f"X-CSRF-Token: {csrf_token(TOKEN)}"]
    head += ["Content-Type: application/json", "", ""]
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall("\r\n".join(head).encode() + body)
        return int(client.makefile("rb").readline().split()[1])


def test_a_body_that_lies_about_its_length_or_never_comes_is_cut(url: str) -> None:
    post = ("POST /api/echo HTTP/1.1", "Host: 127.0.0.1")
    chunked = b"800\r\n" + b"x" * 2048 + b"\r\n0\r\n\r\n"
    assert request(url, *post, "Transfer-Encoding: chunked", body=chunked) == 413
    assert request(url, *post, "Content-Length: 10", body=b"{") == 408


def test_a_request_under_another_name_is_not_answered(url: str) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.", ""):
        assert request(url, "GET /hello HTTP/1.1", f"Host: {host}", "Connection: close") == 421
    for host in ("127.0.0.1:99", "LOCALHOST", "[::1]:80"):
        assert request(url, "GET /hello HTTP/1.1", f"Host: {host}", "Connection: close") == 200


def test_a_bug_is_500_without_a_word_and_a_lost_store_503(browser, capsys) -> None:
    reply = browser.get("/api/fail")
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "internal")
    assert "1234" not in reply.text
    reply = browser.get("/api/lose")
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "store_unavailable")
    assert reply.headers["retry-after"] == "2"
    assert browser.get("/lose").status_code == 503
    assert "disk is full" in capsys.readouterr().err


def test_a_page_does_not_wait_for_requests_that_change_something(browser) -> None:
    number = 3 * THREADS
    with ThreadPoolExecutor(number) as threads:
        sent = [threads.submit(browser.post, "/api/wait", json={}) for _ in range(number)]
        try:
            for _ in range(THREADS):
                GATE.inside.acquire()
            assert browser.get("/mine").status_code == 200
        finally:
            GATE.open.set()
    assert [one.result().status_code for one in sent] == [200] * number


def test_a_file_is_kept_and_never_shown(browser) -> None:
    reply = browser.get("/api/file")
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.headers["content-disposition"].startswith("attachment")
    assert browser.get("/api/plot").headers["content-type"] == "image/svg+xml"


def test_only_the_apps_own_files_are_served(browser) -> None:
    reply = browser.get("/static/a.js")
    assert (reply.text, reply.headers["content-type"]) == (
        "let a;",
        "text/javascript; charset=utf-8",
    )
    again = browser.get("/static/a.js", headers={"If-None-Match": reply.headers["etag"]})
    assert again.status_code == 304
    for path in ("secret.toml", "../hello.html", "..%2fhello.html", "%2fetc/passwd", "", "a.js/"):
        assert browser.get(f"/static/{path}").status_code == 404, path


def test_whatever_is_no_route_is_refused(browser) -> None:
    assert browser.get("/nowhere").text == "404 There is no such page."
    assert browser.get("/api/nowhere").json()["error"]["code"] == "not_found"
    assert browser.delete("/api/echo").json()["error"]["code"] == "not_allowed"
    assert browser.get("/hello/").status_code == 404
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert browser.get(path).status_code == 404


def test_a_route_stands_in_the_table_once() -> None:
    route = Route("GET", "/x", Access.PUBLIC, lambda call: {})
    with pytest.raises(ValueError, match="GET /x is defined twice"):
        build_app(
            [route, route],
            parts=None,
            door=Door(),
            settings=WebSettings(),
            templates=Path(),
            static=Path(),
        )


def test_somebody_new_gets_a_cookie_that_holds_only_a_token(url: str) -> None:
    reply = httpx2.get(f"{url}/hello", trust_env=False)
    token = reply.cookies["understudy"]
    assert reply.text.strip() == csrf_token(token)
    assert json.dumps(token)  # plain text
