"""Keys, consent, limits, feedback, errors and the log, before an upstream that answers at once."""

import json
import socket
import sqlite3
import threading
from pathlib import Path

import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateways import FakeUpstream, make_key, plain_client, running
from tests.stores import make_project

from understudy.serving.app import build_app
from understudy.serving.callers import Callers
from understudy.serving.gateway import Settings
from understudy.serving.upstream import Upstream
from understudy.serving.wire import ApiError, ChatRequest, CompletionRequest, Feedback
from understudy.store.accounts.keys import caller_of, keys_of, revoke_key, tokens_used
from understudy.store.prompts.log import Event, PromptLog

ASK = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


class Site:
    """A gateway before a fake upstream."""

    def __init__(self, url: str, project, upstream: FakeUpstream) -> None:
        self.url, self.project, self.upstream = url, project, upstream
        self.http = plain_client(base_url=url, timeout=30)

    def post(self, key: str, body: object, path: str = "/v1/chat/completions", **headers: str):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(path, json=body, headers={"Authorization": f"Bearer {key}", **named})

    def log(self) -> list[Event]:
        while self.http.get("/health").json()["log"]["pending"]:
            pass
        log = PromptLog(self.project.log)
        found = [event for _, event in log.events()]
        log.close()
        return found

    def close(self) -> None:
        self.http.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    project = make_project("sqlite", tmp_path_factory.mktemp("site") / "project")
    upstream = FakeUpstream()
    limits = Settings(
        log=project.log, requests_per_minute=10_000, timeout_s=1, max_body_bytes=20_000, stall_s=2
    )
    with running(upstream) as address:
        backend = Upstream(f"{address}/v1/", name="m", model="theirs", key="sk-upstream")
        with running(build_app(limits, project.open_store(), backend)) as url:
            site = Site(url, project, upstream)
            yield site
            site.close()


def test_prompt_and_answer_are_recorded_and_the_upstreams_names_are_not_shown(site) -> None:
    key = make_key(site.project, "ann")
    reply = site.post(key, {**ASK, "n": 2, "temperature": 0.5, "seed": 3})
    body = reply.json()
    assert reply.status_code == 200
    assert reply.headers["x-understudy-recorded"] == "yes"
    assert body["model"] == "m"
    assert "theirs" not in reply.text
    prompt, answer = [event for event in site.log() if event.request_id == body["id"]]
    assert (prompt.kind, answer.kind, prompt.user_id) == ("prompt", "answer", "ann")
    assert prompt.body["prompts"] == [[{"role": "user", "content": "Hello"}]]
    assert prompt.body["organization_id"] == "acme"
    assert answer.body["responses"] == ["You said: Hello"] * 2
    assert (answer.body["temperature"], answer.body["seed"]) == (0.5, 3)
    assert site.upstream.seen[-1]["model"] == "theirs"
    assert site.upstream.headers[-1][b"authorization"] == b"Bearer sk-upstream"


def test_openais_client_streams_through(site) -> None:
    key = make_key(site.project, "ann")
    with openai.OpenAI(base_url=f"{site.url}/v1", api_key=key, max_retries=0) as client:
        chunks = list(client.chat.completions.create(**ASK, stream=True))
        text = client.completions.create(model="m", prompt="Once").choices[0].text
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "You said: Hello"
    assert {chunk.model for chunk in chunks} == {"m"}
    answers = [e for e in site.log() if e.request_id == chunks[0].id and e.kind == "answer"]
    assert answers[0].body["responses"] == ["You said: Hello"]
    assert text == "You said: Once"


@pytest.mark.parametrize(
    "how", ["user", "header", "body", "header with another word", "header_in_c"]
)
def test_without_consent_nothing_of_the_prompt_is_kept(site, how: str) -> None:
    secret = f"canary-{how.replace(' ', '-')}"
    key = make_key(site.project, f"quiet-{how}", consent=how != "user")
    body = {"model": "m", "messages": [{"role": "user", "content": secret}]}
    headers = {}
    if how == "body":
        body["store"] = False
    if how.startswith("header"):
        headers["X_Understudy_Consent"] = "no" if how == "header" else "maybe"
    if how == "header_in_c":  # a name as some languages and frameworks spell it
        head = {"Authorization": f"Bearer {key}", "X_Understudy_Consent": "no"}
        reply = site.http.post("/v1/chat/completions", json=body, headers=head)
    else:
        reply = site.post(key, body, **headers)
    assert secret in reply.text
    assert reply.headers["x-understudy-recorded"] == "no"
    for path in site.project.folder.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path
    feedback = {"id": reply.json()["id"], "thumb": "up"}
    assert site.post(key, feedback, "/v1/feedback").status_code == 404


def test_feedback_is_kept_for_ones_own_answers_only(site) -> None:
    ann, bob = make_key(site.project, "ann"), make_key(site.project, "bob")
    name = site.post(ann, ASK).json()["id"]
    for said in ({"thumb": "down"}, {"choice": 0}, {"correction": "Hi!", "index": 0}):
        assert site.post(ann, {"id": name, **said}, "/v1/feedback").status_code == 200
    values = [e.body["value"] for e in site.log() if e.kind == "feedback" and e.request_id == name]
    assert values == ["down", 0, "Hi!"]
    refused = site.post(bob, {"id": name, "thumb": "up"}, "/v1/feedback")
    unknown = site.post(bob, {"id": "chatcmpl-0", "thumb": "up"}, "/v1/feedback")
    assert refused.status_code == unknown.status_code == 404
    for wrong in ({"thumb": "up", "choice": 1}, {"correction": " \n"}):
        assert site.post(ann, {"id": name, **wrong}, "/v1/feedback").status_code == 400


def test_keys_are_kept_as_hashes_and_shown_once(site, capsys) -> None:
    key = make_key(site.project, "ann")
    store = site.project.open_store()
    assert site.post(key, ASK).status_code == 200
    site.log()
    secret = key.split("-", 2)[2]
    for path in site.project.folder.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path
    assert secret not in str(keys_of(store))
    assert secret not in capsys.readouterr().err
    assert caller_of(store, key).user_id == "ann"
    assert caller_of(store, key[:-1]) is None
    revoke_key(store, key.split("-")[1])
    assert caller_of(store, key) is None
    old = make_key(site.project, "ann", expires_at="2001-01-01T00:00:00.000000+00:00")
    assert caller_of(store, old) is None
    assert site.post(old, ASK).status_code == 401
    for path in ("/v1/models", "/v1/feedback", "/v1/completions", "/v1/chat/completions"):
        reply = site.http.request("GET" if path.endswith("models") else "POST", path, json={})
        assert reply.status_code == 401, path
        assert reply.json()["error"]["code"] == "invalid_api_key"
    with pytest.raises(ValueError, match="no key 'x'"):
        revoke_key(store, "x")


def test_rate_and_quota(site) -> None:
    key = make_key(site.project, "busy", requests_per_minute=3, tokens_per_day=8)
    replies = [site.post(key, ASK) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [200, 200, 429]  # 7 + 7 tokens of 8
    assert replies[2].json()["error"]["type"] == "insufficient_quota"
    key = make_key(site.project, "quick", requests_per_minute=2)
    replies = [site.post(key, ASK) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [200, 200, 429]
    assert replies[2].json()["error"]["code"] == "rate_limit_exceeded"
    assert int(replies[2].headers["retry-after"]) >= 1


async def _at(callers: Callers, key: str, times: int) -> int:
    """How many of so many requests are let in."""
    done = 0
    for _ in range(times):
        try:
            await callers.admit(await callers.identify(key))
        except ApiError:
            break
        done += 1
    return done


def test_limits_refill_with_the_clock_and_a_revoked_key_ends(site) -> None:
    import asyncio

    key = make_key(site.project, "clocked", requests_per_minute=6)
    store = site.project.open_store()
    time = [100.0]
    callers = Callers(
        store,
        requests_per_minute=1,
        tokens_per_day=100,
        clock=lambda: time[0],
        today=lambda: "2026-11-24",
    )

    async def go() -> None:
        assert await _at(callers, key, 9) == 6
        time[0] += 10  # a sixth of a minute: one more
        assert await _at(callers, key, 9) == 1
        caller = await callers.identify(key)
        callers.count(caller, 90)
        await callers.flush()
        assert tokens_used(store, "clocked", "2026-11-24") == 90
        time[0] += 60
        again = Callers(store, requests_per_minute=1, tokens_per_day=90, today=lambda: "2026-11-24")
        with pytest.raises(ApiError, match="used up"):
            await again.admit(caller)
        revoke_key(store, caller.key_id)
        time[0] += 3
        with pytest.raises(ApiError, match="valid API key"):
            await callers.identify(key)

    asyncio.run(go())


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        ("fail", 502, "upstream_failed"),
        ("too long", 400, "upstream_refused"),
        ("be slow", 504, "timeout"),
        ("go away", 502, "upstream_failed"),  # a redirect is not followed
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_an_upstream_can_do_wrong(site, words: str, status: int, code: str, stream) -> None:
    key = make_key(site.project, "ann")
    body = {"model": "m", "messages": [{"role": "user", "content": words}], "stream": stream}
    reply = site.post(key, body)
    assert reply.status_code == status
    assert reply.json()["error"]["code"] == code
    assert "boom" not in reply.text


def test_a_connection_that_the_upstream_has_closed_is_no_failure(site, tmp_path: Path) -> None:
    """The first request on a connection is answered, the second finds it closed."""
    key = make_key(site.project, "ann")
    listener = socket.create_server(("127.0.0.1", 0))
    body = json.dumps(site.upstream.answer(ASK, "Hello")).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()

    def serve_twice() -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            connection.recv(1 << 16)
            connection.sendall(head + body)
            connection.recv(1 << 16)  # the next request, left without an answer
            connection.close()

    thread = threading.Thread(target=serve_twice, daemon=True)
    thread.start()
    backend = Upstream(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", name="m")
    limits = Settings(log=tmp_path / "log.sqlite")
    app = build_app(limits, site.project.open_store(), backend)
    header = {"Authorization": f"Bearer {key}"}
    with running(app) as url, plain_client(headers=header) as http:
        for _ in range(2):
            reply = http.post(f"{url}/v1/chat/completions", json=ASK)
            assert reply.status_code == 200, reply.text
    listener.close()


@pytest.mark.parametrize(
    ("path", "change", "status", "says"),
    [
        ("/v1/chat/completions/", {}, 404, "the gateway has POST /v1/chat/completions, "),
        ("/v1/responses", {}, 404, "GET /v1/models/NAME"),
        ("/v1/chat/completions", {"content-encoding": "gzip"}, 415, "without Content-Encoding"),
        ("/v1/chat/completions", {"content-type": "text/plain"}, 415, "Content-Type: application"),
    ],
)
def test_a_request_that_cannot_be_read_says_what_to_send(site, path, change, status, says) -> None:
    head = {"Authorization": f"Bearer {make_key(site.project, 'ann')}"}
    head |= {"content-type": "application/json"} | change
    reply = site.http.post(path, content=json.dumps(ASK), headers=head)
    assert reply.status_code == status
    assert says in reply.json()["error"]["message"]


def test_a_body_may_begin_with_a_bom_and_must_be_utf_8(site) -> None:
    """PowerShell writes the first, and other encodings too."""
    head = {"Authorization": f"Bearer {make_key(site.project, 'ann')}"}
    head["content-type"] = "application/json"
    for encoding, status in (("utf-8-sig", 200), ("utf-16", 400), ("latin-1", 400)):
        asked = {**ASK, "messages": [{"role": "user", "content": "café"}]}
        body = json.dumps(asked, ensure_ascii=False).encode(encoding)
        reply = site.http.post("/v1/chat/completions", content=body, headers=head)
        assert reply.status_code == status
        assert ("UTF-8" in reply.text) == (status == 400)


def test_a_stream_asks_proxies_not_to_hold_it_back(site) -> None:
    reply = site.post(make_key(site.project, "ann"), {**ASK, "stream": True})
    assert reply.headers["x-accel-buffering"] == "no"


def test_no_request_can_choose_the_upstream(site) -> None:
    key = make_key(site.project, "ann")
    number = len(site.upstream.seen)
    for name in ("base_url", "upstream", "api_base", "url", "extra_body"):
        reply = site.post(key, {**ASK, name: "http://127.0.0.1:1/v1"})
        assert reply.status_code == 400
        assert name in reply.json()["error"]["message"]
    assert len(site.upstream.seen) == number
    for url in ("ftp://h/v1", "http://", "http://u:p@h/v1", "http://h/v1?x=1", "file:///etc"):
        with pytest.raises(ValueError, match="upstream is"):
            Upstream(url, name="m")


def test_large_and_broken_bodies(site) -> None:
    key = make_key(site.project, "ann")
    head = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    large = json.dumps({**ASK, "user": "x" * 30_000})
    path = "/v1/chat/completions"
    assert site.http.post(path, content=large, headers=head).status_code == 413
    chunks = (large[i : i + 5000].encode() for i in range(0, len(large), 5000))
    reply = site.http.post(path, content=chunks, headers=head)  # no length is declared
    assert (reply.status_code, reply.json()["error"]["type"]) == (413, "invalid_request_error")
    for broken in (b"{", b"[]", b"\xff\xfe", b"null", b'"text"', b"[" * 5000, b'{"\\ud800": 1}'):
        reply = site.http.post(path, content=broken, headers=head)
        assert reply.status_code == 400, broken[:10]
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    missing = site.http.post("/v1/responses", json={}, headers=head)
    assert missing.json()["error"]["message"].startswith(
        "there is no POST /v1/responses; the gateway has POST /v1/chat/completions, "
    )
    assert site.http.get(path).status_code == 405


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)
FIELDS = sorted(
    {*ChatRequest.model_fields, *CompletionRequest.model_fields, *Feedback.model_fields}
)


@pytest.mark.thorough
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(["/v1/chat/completions", "/v1/completions", "/v1/feedback"]),
    st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=5),
    st.booleans(),
)
def test_no_json_makes_it_fail(site, path: str, change: dict, valid: bool) -> None:
    key = make_key(site.project, "fuzz") if not hasattr(site, "fuzz_key") else site.fuzz_key
    site.fuzz_key = key
    reply = site.post(key, {**(ASK if valid else {}), **change}, path)
    assert reply.status_code in (200, 400, 404), reply.text
    if reply.status_code != 200:
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


def test_the_openapi_description_names_every_route(site) -> None:
    described = site.http.get("/openapi.json").json()
    assert set(described["paths"]) == {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/models",
        "/v1/feedback",
        "/health",
    }
    for path, methods in described["paths"].items():
        for method in methods.values():
            assert ("security" in method) == (path != "/health")


def test_the_health_page_needs_no_key_and_tells_no_secrets(site) -> None:
    site.post(make_key(site.project, "well"), ASK)  # the last answer's fate decides the state
    reply = site.http.get("/health")
    assert reply.json()["status"] == "ok"
    assert reply.json()["log"]["on_failure"] == "refuse"
    assert "127.0.0.1" not in reply.text
    assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("policy", ["refuse", "serve"])
def test_a_log_that_cannot_be_written(tmp_path: Path, policy: str) -> None:
    project = make_project("sqlite", tmp_path / "project")
    key = make_key(project, "ann")
    limits = Settings(log=project.log, on_log_failure=policy)
    upstream = FakeUpstream()
    with running(upstream) as address:
        backend = Upstream(f"{address}/v1", name="m")
        with running(build_app(limits, project.open_store(), backend)) as url:
            site = Site(url, project, upstream)
            with sqlite3.connect(project.log) as broken:
                broken.execute("ALTER TABLE events RENAME TO elsewhere")
            reply = site.post(key, ASK)
            health = site.http.get("/health").json()
            assert (health["status"], health["log"]["state"]) == ("degraded", "failing")
            assert health["log"]["on_failure"] == policy
            assert health["log"]["lost"] >= 1
            assert reply.status_code == (503 if policy == "refuse" else 200)
            assert site.post(key, ASK, X_Understudy_Consent="no").status_code == 200
            with sqlite3.connect(project.log) as mended:
                mended.execute("ALTER TABLE elsewhere RENAME TO events")
            assert site.post(key, ASK).status_code == 200
            assert site.http.get("/health").json()["status"] == "ok"
            assert len(site.log()) >= 1
            site.close()


def test_the_log_is_append_only(tmp_path: Path) -> None:
    log = PromptLog(tmp_path / "log.sqlite")
    log.append([Event("prompt", "r", "u", "2026", {"prompts": ["x"]})])
    with pytest.raises(sqlite3.DatabaseError, match="append-only"):
        log.db.execute("UPDATE events SET body = ''")
    log.db.execute("PRAGMA user_version=99")
    log.close()
    with pytest.raises(ValueError, match="schema 99"):
        PromptLog(tmp_path / "log.sqlite")
