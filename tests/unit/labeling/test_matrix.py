"""Who may do what, generated from the table of routes: every role, every route, own and others'."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from tests.gateways import running
from tests.labelers import Browser, Clock, Site, demonstrated, fill, queue, ranked, site
from tests.stores import make_project

from understudy.labeling.app import FOLDER, build_label_app, routes
from understudy.labeling.parts import LabelApp
from understudy.store.accounts.people import set_disabled
from understudy.store.engine import writing
from understudy.store.queue.plan import NewItem
from understudy.web.access import Access, Call, Nothing, Route
from understudy.web.app import WebSettings, build_app
from understudy.web.headers import HEADERS, TLS_HEADERS

ROUTES = routes()
REVIEWED = {
    Access.PUBLIC: """
        GET /  GET /health  GET /sign-in  GET /invitation
        GET /api/session  POST /api/sign-in  POST /api/invitation  POST /api/invitation/check
    """,
    Access.ACCOUNT: """
        GET /instructions  GET /waiting  GET /me
        POST /api/sign-out  POST /api/password  GET /api/instructions  POST /api/instructions
        GET /api/me  POST /api/me/self-description  POST /api/me/self-description/delete
        POST /api/me/topics
    """,
    Access.WORKER: """
        GET /work  GET /work/{assignment_id}  GET /history
        GET /api/day  POST /api/next  GET /api/history  POST /api/tokens
        GET /api/assignments/{assignment_id}  PUT /api/assignments/{assignment_id}/draft
        POST /api/assignments/{assignment_id}/heartbeat
        POST /api/assignments/{assignment_id}/submit
        POST /api/assignments/{assignment_id}/skip  POST /api/assignments/{assignment_id}/unskip
    """,
}
"""Read by a person, line by line; whatever is not here is the owner's, and below /owner."""
ROLES = {
    "nobody": None,
    "unread": dict(role="training", read=False),
    "practising": dict(stage="practice"),
    "screened": dict(stage="screening"),
    "waiting": dict(stage="waiting"),
    "rejected": dict(stage="rejected"),
    "disabled": dict(role="training"),
    "training": dict(role="training"),
    "held_out": dict(role="held_out"),
    "researcher": dict(role="researcher"),
    "owner": dict(owner=True),
    "owning_researcher": dict(owner=True, role="researcher"),
}
SIGNED_IN = set(ROLES) - {"nobody", "disabled"}
ALLOWED = {
    Access.PUBLIC: set(ROLES),
    Access.ACCOUNT: SIGNED_IN,
    Access.WORKER: {
        "practising",
        "screened",
        "training",
        "held_out",
        "researcher",
        "owning_researcher",
    },
    Access.OWNER: {"owner", "owning_researcher"},
}


def probe(call: Call) -> dict[str, bool]:
    return {"let_in": True}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory) -> Iterator[tuple[Site, str]]:
    """The pages, and beside them the same routes and guards around a handler that only says yes."""
    project = make_project("sqlite", tmp_path_factory.mktemp("matrix") / "project")
    with site(project) as found:
        probed = [
            replace(route, handler=probe, body=Nothing) if route.access else route
            for route in ROUTES
        ]
        app = build_app(
            probed,
            parts=found.parts,
            door=found.parts,
            settings=WebSettings(),
            templates=FOLDER / "templates",
            static=FOLDER / "static",
        )
        with running(app) as url:
            yield found, url


@pytest.fixture(scope="module")
def people(guarded) -> dict[str, Browser]:
    found, url = guarded
    made = {
        role: found.browser() if options is None else found.person(role, **dict(options))
        for role, options in ROLES.items()
    }
    set_disabled(found.store, made["disabled"].account, True, by=None, at=found.parts.now())
    with writing(found.store.engine) as connection:
        connection.exec_driver_sql("UPDATE sessions SET revoked_at = NULL")  # the flag alone bars
    for browser in made.values():
        browser.http.base_url = httpx2.URL(url)
    return made


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


def path_of(route: Route) -> str:
    return route.path.replace("{", "x-").replace("}", "")


def test_the_table_of_routes_is_the_one_that_was_read() -> None:
    reviewed = {
        f"{method} {path}": access
        for access, text in REVIEWED.items()
        for method, path in zip(text.split()[::2], text.split()[1::2], strict=True)
    }
    for route in ROUTES:
        access = reviewed.pop(name_of(route), Access.OWNER)
        assert route.access is access, name_of(route)
        if access is Access.OWNER:
            assert route.path.startswith(("/owner", "/api/owner/")), name_of(route)
    assert not reviewed, "these routes are no more"


@pytest.mark.parametrize("role", ROLES)
def test_every_route_lets_in_whom_it_should_and_nobody_else(people, role: str) -> None:
    browser = people[role]
    for route in ROUTES:
        if route.method == "GET":
            reply = browser.get(path_of(route))
        else:
            reply = browser.post(path_of(route), method=route.method)
        let_in = reply.status_code == 200 and reply.json() == {"let_in": True}
        assert let_in == (role in ALLOWED[route.access]), (name_of(route), reply.status_code)
        if not let_in and route.is_api:
            assert reply.status_code == (401 if role in ("nobody", "disabled") else 403)
            assert set(reply.json()) == {"error"}
        elif not let_in:
            assert reply.status_code in (303, 403)


def changing() -> list[Route]:
    return [route for route in ROUTES if route.changes_state]


@pytest.mark.parametrize("route", changing(), ids=name_of)
def test_every_change_wants_the_token_of_the_cookie(people, route: Route) -> None:
    browser = people["owning_researcher"]
    path = path_of(route)
    other = people["nobody"].http.cookies.get("understudy")
    wrong = {"X-CSRF-Token": "0" * 64}
    for headers in ({}, wrong, {"X-CSRF-Token": other or ""}, {"X-CSRF-Token": browser.token}):
        reply = browser.http.request(route.method, path, json={}, headers=headers)
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "csrf")
    for name, value in (("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")):
        browser.http.headers[name] = value
        reply = browser.post(path, method=route.method)
        del browser.http.headers[name]
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "csrf")
    assert browser.post(path, method=route.method).json() == {"let_in": True}


def test_a_form_of_another_site_is_no_request(people) -> None:
    browser = people["owning_researcher"]
    for route in changing():
        reply = browser.http.request(
            route.method, path_of(route), content=b"a=1", headers={"Content-Type": "text/plain"}
        )
        assert reply.status_code in (403, 415)


def test_every_answer_has_the_headers(guarded, people) -> None:
    elsewhere = ["/nowhere", "/api/nowhere", "/static/nothing.js", "/static/../app.py", "/work/"]
    static = [f"/static/{path.name}" for path in (FOLDER / "static").glob("*.*")]
    assert static
    for browser in (people["nobody"], people["owning_researcher"]):
        for path in [*(path_of(route) for route in ROUTES), *elsewhere, *static]:
            for method in ("GET", "HEAD", "POST", "DELETE"):
                reply = browser.http.request(method, path)
                for name, value in HEADERS.items():
                    assert reply.headers.get(name) == value, (method, path, name)
                assert "unsafe" not in reply.headers["content-security-policy"]
                assert reply.headers["cache-control"] in ("no-store", "no-cache")
                assert reply.status_code < 500


def test_the_real_pages_come_with_the_headers_and_a_meta_token(guarded) -> None:
    found, _ = guarded
    browser = found.person(owner=True, role="researcher")
    for route in ROUTES:
        if route.method == "GET" and not route.is_api and "{" not in route.path:
            reply = browser.get(route.path, follow_redirects=True)
            assert reply.status_code == 200, route.path
            assert reply.headers["content-security-policy"] == HEADERS["content-security-policy"]
            assert "csrf-token" in reply.text
            assert "secretmodel" not in reply.text


def test_with_tls_the_cookie_belongs_to_the_host_and_browsers_are_told(tmp_path: Path) -> None:
    project = make_project("sqlite", tmp_path / "project")
    parts = LabelApp(store=project.open_store(pooled=True), project=project, clock=Clock())
    with running(build_label_app(parts, WebSettings(tls=True))) as url:
        reply = httpx2.get(f"{url}/sign-in", trust_env=False)
    assert reply.headers["strict-transport-security"] == TLS_HEADERS["strict-transport-security"]
    cookie = reply.headers["set-cookie"]
    assert cookie.startswith("__Host-understudy=")
    for part in ("Path=/", "HttpOnly", "SameSite=Lax", "Secure"):
        assert f"; {part}" in cookie
    assert "Domain" not in cookie
    parts.store.engine.dispose()


# Own objects and others'


@pytest.fixture
def two(small: Site) -> tuple[Site, Browser, Browser]:
    """Two labelers of whom the first has an item in hand; the other one has had none."""
    fill(small.store, 2)
    return small, small.person(role="training"), small.person(role="training")


OF_AN_ASSIGNMENT = [r for r in ROUTES if "{assignment_id}" in r.path and r.is_api]


@pytest.mark.parametrize(
    "route", [r for r in OF_AN_ASSIGNMENT if r.access is Access.WORKER], ids=name_of
)
@pytest.mark.parametrize("state", ["leased", "done", "skipped"])
def test_anothers_assignment_is_as_if_there_were_none(two, route: Route, state: str) -> None:
    pages, ann, bob = two
    mine = ann.next()
    if state == "done":
        ann.submit(mine, ranked(mine))
    elif state == "skipped":
        ann.post(f"/api/assignments/{mine['id']}/skip", {"id": "skip-0001", "reason": "other"})
    researcher = pages.person(role="researcher", owner=True)
    bodies = {
        "draft": {"version": 0, "body": {"text": "mine now"}},
        "submit": ranked(mine),
        "skip": {"id": "skip-0002", "reason": "unclear"},
    }
    body = bodies.get(route.path.rpartition("/")[2], {})
    answers = set()
    for other in (bob, researcher):
        for name in (mine["id"], "as-000000000000000000000000"):
            path = route.path.replace("{assignment_id}", name)
            if route.method == "GET":
                reply = other.get(path)
            else:
                reply = other.post(path, body, method=route.method)
            answers.add((reply.status_code, reply.text))
    assert len(answers) == 1, "somebody else's and nobody's look alike"
    assert answers.pop()[0] == 404
    there = ann.get(f"/api/assignments/{mine['id']}").json()["assignment"]
    assert (there["state"], there["draft"]) == (state, None)


def test_no_answer_of_the_server_names_a_model_or_an_id_of_the_record_chain(two) -> None:
    pages, ann, _ = two
    queue(pages.store, [NewItem("demonstrate", "p00", "training")])
    seen = []
    for kind in ("rank", "demonstrate"):
        assignment = ann.next(kind)
        path = f"/api/assignments/{assignment['id']}"
        ann.post(f"{path}/draft", {"version": 0, "body": {"note": "half"}}, method="PUT")
        seen += [ann.get(path).text, ann.post(f"{path}/heartbeat").text]
        answer = ranked(assignment) if kind == "rank" else demonstrated()
        seen += [ann.submit(assignment, answer).text, ann.get(path).text]
        seen.append(ann.submit(assignment, {**answer, "id": "another-id"}).text)
    seen += [ann.get(path).text for path in ("/api/day", "/api/history", "/api/session", "/work")]
    for text in seen:
        assert "secretmodel" not in text
        assert "p00" not in text
        assert '"u0"' not in text
