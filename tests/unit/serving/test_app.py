"""Clients that leave, servers that are told to end, and upstreams that say anything at all."""

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fixtures_models import make_policy, make_tokenizer
from tests.gateways import FakeUpstream, make_key, plain_client, running
from tests.stores import make_project

from understudy.prompts.add import add_from_log
from understudy.serving.app import build_app
from understudy.serving.gateway import Settings
from understudy.serving.journal import Journal
from understudy.serving.local import LocalModel
from understudy.serving.upstream import Upstream

END = 60
"""Seconds after which a test gives up on what should come at once."""


def request(key: str, text: str, **fields: object) -> bytes:
    asked = {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
    body = json.dumps(asked).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def connect(url: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=END)


def all_of(client: socket.socket) -> bytes:
    found = b""
    while piece := client.recv(1 << 16):
        found += piece
    return found


@contextmanager
def gateway(project, backend, **limits: object) -> Iterator[str]:
    rules = Settings(log=project.log, requests_per_minute=10**6, **limits)
    store = project.open_store()
    with running(build_app(rules, store, backend)) as url:
        yield url
    store.engine.dispose()


@pytest.mark.parametrize(
    ("words", "stream"),
    [("say nothing", False), ("say nothing", True), ("say nothing more", True)],
)
def test_a_client_that_leaves_ends_the_upstreams_work(tmp_path: Path, words, stream) -> None:
    """While a whole answer is awaited, before the first chunk, and after it."""
    project = make_project("sqlite", tmp_path / "project")
    key, upstream = make_key(project, "ann"), FakeUpstream()
    with running(upstream) as address, gateway(project, Upstream(f"{address}/v1", name="m")) as url:
        client = connect(url)
        client.sendall(request(key, words, stream=stream))
        if "more" in words:
            while b"You said" not in client.recv(1 << 16):
                pass
        else:
            with plain_client() as http:
                while not upstream.seen:
                    http.get(f"{url}/health")
        client.close()
        assert upstream.ended.wait(END)


def test_an_answer_is_sent_before_it_is_recorded(tmp_path: Path, monkeypatch, caplog) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(Journal, "note", fail)
    project = make_project("sqlite", tmp_path / "project")
    header = {"Authorization": f"Bearer {make_key(project, 'ann')}"}
    with (
        running(FakeUpstream()) as address,
        gateway(project, Upstream(f"{address}/v1", name="m")) as url,
        plain_client(base_url=url, headers=header) as http,
    ):
        assert http.post("/v1/chat/completions", json=ASK).status_code == 200
        http.get("/health")  # until the loop's next turn
    assert "a bug" in caplog.text
    assert "Hello" not in caplog.text  # not even from the arguments of what failed


class Steps:
    """Lets a model go one step at a time, and counts them."""

    def __init__(self, model) -> None:
        self.allowed, self.taken = threading.Semaphore(0), 0
        self.at_work = threading.Event()
        model.model.get_input_embeddings().register_forward_pre_hook(self._wait)

    def _wait(self, *_: object) -> None:
        self.at_work.set()
        self.allowed.acquire()
        self.taken += 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("begun", [False, True])
def test_a_client_that_leaves_ends_the_models_work(tmp_path: Path, stream, begun) -> None:
    project = make_project("sqlite", tmp_path / "project")
    key, policy = make_key(project, "ann"), make_policy("gpt2")
    steps = Steps(policy)
    model = LocalModel(policy, make_tokenizer(), name="m", max_response_tokens=100)
    model.batcher.eos_id = -1  # so that it would go on
    with gateway(project, model) as url, plain_client() as http:
        client = connect(url)
        client.sendall(request(key, "Hello", stream=stream))
        if begun:
            steps.allowed.release(3)
            while steps.taken < 3:
                steps.at_work.wait(END)
        assert steps.at_work.wait(END)
        (job,) = model.batcher.live or [None]
        client.close()
        while job is not None and not job.cancelled:
            http.get(f"{url}/health")
        if job is None:  # still in its prefill: the gateway has noticed once it can say so
            http.get(f"{url}/health")
        steps.allowed.release(1000)
        while http.get(f"{url}/health").json()["backend"]["unfinished"]:
            pass
        assert steps.taken < 50


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, str, subprocess.Popen]]:
    """`understudy serve` in a process of its own."""
    project = make_project("sqlite", tmp_path / "project")
    key = make_key(project, "ann")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with running(FakeUpstream()) as upstream:
        command = [sys.executable, "-m", "understudy.cli", "serve", "--port", str(port)]
        command += ["--project", str(project.folder), "--upstream", f"{upstream}/v1"]
        command += ["--name", "m", "--timeout-s", "4"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert b"serving" in server.stdout.readline()
        yield f"http://127.0.0.1:{port}", key, server
        server.kill()
        server.wait()
        server.stdout.close()


@pytest.mark.thorough
@pytest.mark.parametrize("words", ["say nothing more", "say much"])
def test_a_server_that_is_told_to_end_ends_streams_with_an_error_event(served, words) -> None:
    url, key, server = served
    with connect(url) as client:
        client.sendall(request(key, words, stream=True))
        begun = client.recv(1 << 16)
        server.send_signal(signal.SIGTERM)
        said = begun + all_of(client)
    *_, last = [line for line in said.split(b"\n") if line.startswith(b"data:")]
    assert json.loads(last.removeprefix(b"data:"))["error"]["code"] == "timeout"
    assert said.endswith(b"0\r\n\r\n")  # the connection is not torn
    assert server.wait(END) in (0, -signal.SIGTERM)


EVENTS = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        [
            {"error": {"message": "secret words", "code": 500}},
            {"choices": None},
            {"choices": [None]},
            {"choices": [{"index": 7, "delta": {"content": "x"}}]},
            {"choices": [{"index": 0, "delta": None}]},
            {"choices": [{"index": 0, "delta": {"content": "half \ud83d"}}]},
            {"choices": [{"index": 0, "delta": {"content": 5}}]},
            {"choices": [{"index": 0, "delta": {"content": "a\0b"}, "finish_reason": {}}]},
            {"choices": [], "usage": {"prompt_tokens": 10**40, "completion_tokens": -1}},
            {"choices": [], "usage": "many"},
            {"usage": float("nan")},
            [],
            "[DONE]",
        ]
    ).map(lambda said: json.dumps(said).encode()),
    st.just(b"[DONE]"),
)
STATUS = st.sampled_from(["200 OK", "200 OK", "200 OK", "429 No", "503 No", "999 X", "101 Switch"])
HEADERS = st.sampled_from(
    ["", "Retry-After: 7\r\n", "Retry-After: \xff\r\n", "Content-Length: 9\r\n"]
)


class Hostile:
    """A server that sends what it is told to, and closes."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.reply = b""
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}/v1"

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                data = b""
                while b"\r\n\r\n" not in data:
                    data += connection.recv(1 << 16)
                head, _, body = data.partition(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                while len(body) < length:
                    body += connection.recv(1 << 16)
                connection.sendall(self.reply)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    project = make_project("sqlite", tmp_path_factory.mktemp("hostile") / "project")
    upstream = Hostile()
    header = {"Authorization": f"Bearer {make_key(project, 'ann')}"}
    with (
        gateway(project, Upstream(upstream.url, name="m")) as url,
        plain_client(base_url=url, headers=header, timeout=END) as http,
    ):
        yield upstream, http
    upstream.listener.close()


ASK = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
GOOD = {
    "choices": [{"index": 0, "message": {"content": "Yes."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(STATUS, HEADERS, st.lists(EVENTS, max_size=4), st.booleans(), st.booleans())
def test_no_upstream_can_tear_a_connection_or_stop_the_gateway(
    hostile, status: str, header: str, events: list[bytes], stream: bool, framed: bool
) -> None:
    upstream, http = hostile
    parts = [b"data: " + event + b"\n\n" if framed else event for event in events]
    upstream.reply = f"HTTP/1.1 {status}\r\n{header}\r\n".encode("latin-1") + b"".join(parts)
    reply = http.post("/v1/chat/completions", json={**ASK, "stream": stream})  # or raises: torn
    if reply.status_code != 200:
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    elif stream:
        sent = [line for line in reply.text.splitlines() if line]
        assert all(line.startswith("data: ") for line in sent)
        last = sent[-1].removeprefix("data: ")
        assert last == "[DONE]" or "error" in json.loads(last)
    assert "secret words" not in reply.text
    health = http.get("/health").json()
    assert health["accounts"] == {"state": "ok", "error": None}
    assert health["log"]["lost"] == 0
    assert health["status"] == ("ok" if health["backend"]["error"] is None else "degraded")
    body = json.dumps(GOOD).encode()
    upstream.reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    assert http.post("/v1/chat/completions", json=ASK).status_code == 200
    assert http.get("/health").json()["status"] == "ok"


def replied(body: object, status: str = "200 OK") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (status.encode(), len(data)) + data


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"error": {"message": "too long"}}, "too long"),
        ({"object": "error", "message": "too long", "code": 400}, "too long"),  # vLLM's, once
        ({"error": "too long", "error_type": "validation"}, "too long"),  # TGI, LM Studio
        ({"detail": "too long"}, "too long"),  # FastAPI
        ({"detail": [{"loc": ["body", "stop"], "msg": "too long"}]}, "body.stop: too long"),
        ([{"error": {"message": "too long", "status": "INVALID"}}], "too long"),  # Gemini
        (b"<html>", "the model's server refused the request"),
        ({"error": {"message": ["x"]}}, "the model's server refused the request"),
        ([], "the model's server refused the request"),
    ],
)
def test_an_upstreams_reason_is_passed_on_however_it_says_it(hostile, body, says) -> None:
    upstream, http = hostile
    upstream.reply = replied(body, "400 Bad Request")
    reply = http.post("/v1/chat/completions", json=ASK)
    assert (reply.status_code, reply.json()["error"]["message"]) == (400, says)


def test_a_wrong_path_or_model_is_the_operators_fault(hostile) -> None:
    upstream, http = hostile
    for stream in (False, True):
        upstream.reply = replied(b"404 page not found", "404 Not Found")
        reply = http.post("/v1/chat/completions", json={**ASK, "stream": stream})
        assert (reply.status_code, reply.json()["error"]["code"]) == (502, "upstream_failed")
        health = http.get("/health").json()
        assert health["status"] == "degraded"
        assert "check upstream and upstream_model" in health["backend"]["error"]


def events(*parts: object, done: bool = True) -> bytes:
    lines = [p if isinstance(p, bytes) else b"data: " + json.dumps(p).encode() for p in parts]
    lines += [b"data: [DONE]"] * done
    return b"HTTP/1.1 200 OK\r\n\r\n" + b"".join(line + b"\n\n" for line in lines)


def piece(text: str | None = None, reason: str | None = None, **more: object) -> dict:
    delta = {} if text is None else {"content": text}
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}], **more}


def used(number: int) -> dict:
    return {"usage": {"prompt_tokens": 1, "completion_tokens": number}}


@pytest.mark.parametrize(
    "reply",
    [
        events(b": ping", piece("Hi"), b"data:", piece(None, "stop")),
        events(piece("Hi"), {"choices": [{"index": 0, "delta": None, "finish_reason": "stop"}]}),
        events({"choices": []}, piece("Hi"), {"choices": [{"index": 0}]}, piece(None, "eos")),
        events(piece("Hi")),
        events(piece("Hi", "") | used(1), piece(None, "stop") | used(2)),
        events(piece("Hi"), piece(None, "stop"), {"choices": [], **used(2)}, done=False),
        events(b"\xef\xbb\xbfdata: " + json.dumps(piece("Hi", "stop")).encode()),
        events(
            {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "c"}]}}]},
            piece([{"type": "thinking", "thinking": []}, {"type": "text", "text": "Hi"}], "stop"),
        ),
    ],
)
def test_a_stream_with_a_quirk_is_as_openais(hostile, reply: bytes) -> None:
    upstream, http = hostile
    upstream.reply = reply
    said = http.post("/v1/chat/completions", json={**ASK, "stream": True})
    lines = [line.removeprefix("data: ") for line in said.text.splitlines() if line]
    assert lines.pop() == "[DONE]"
    choices = [json.loads(line)["choices"] for line in lines]
    assert "".join(c["delta"].get("content") or "" for (c,) in choices) == "Hi"
    assert choices[-1][0]["finish_reason"] == "stop"
    assert "tool_calls" not in said.text
    assert "usage" not in said.text  # nobody has asked for it
    options = {"include_usage": True}
    asked = {**ASK, "stream": True, "stream_options": options}
    *_, last, done = http.post("/v1/chat/completions", json=asked).text.split("\n\n")[:-1]
    if b"usage" in reply:
        assert json.loads(last.removeprefix("data: "))["usage"]["completion_tokens"] == 2
    assert done == "data: [DONE]"


@pytest.mark.parametrize(
    "reply",
    [
        events(piece("Hi"), done=False),
        events(piece("Hi"), {"object": "error", "message": "out of memory"}),
        events(piece("Hi"), b'event: error\ndata: {"message": "out of memory"}'),
        events(piece("Hi"), b'{"error": {"message": "out of memory"}}', done=False),
        events(piece("Hi"), piece(None, "error")),
        events(
            {"choices": [{"index": 0, "delta": {"content": "Hi"}, "error": {"code": 502}}]},
        ),
        events(),
        events([]),
        events(piece("Hi"), "text"),
        replied({"choices": [{"index": 0, "message": {"content": "Hi"}}]}),
    ],
)
def test_a_stream_that_fails_or_is_cut_off_is_an_error(hostile, reply: bytes) -> None:
    upstream, http = hostile
    upstream.reply = reply
    said = http.post("/v1/chat/completions", json={**ASK, "stream": True})
    last = said.text.strip().rpartition("\n\n")[2].removeprefix("data: ")
    assert json.loads(last)["error"]["code"] == "upstream_failed"
    assert http.get("/health").json()["status"] == "degraded"


def test_responses_are_recorded_at_their_prompts_with_how_they_ended(tmp_path: Path) -> None:
    """An upstream may give them in any order, or leave one out."""
    project, upstream = make_project("sqlite", tmp_path / "project"), Hostile()
    header = {"Authorization": f"Bearer {make_key(project, 'ann')}"}
    choices = [
        {"index": 2, "text": "to c", "finish_reason": "length"},
        {"index": 0, "text": "to a", "finish_reason": "stop"},
    ]
    upstream.reply = replied({"choices": choices})
    backend = Upstream(upstream.url, name="m")
    with gateway(project, backend) as url, plain_client(base_url=url, headers=header) as http:
        for stream in (False, True):
            if stream:
                upstream.reply = events({"choices": choices[:1]}, {"choices": choices[1:]})
            body = {"model": "m", "prompt": ["a", "b", "c"], "stream": stream}
            assert http.post("/v1/completions", json=body).status_code == 200
    upstream.listener.close()
    store = project.open_store()
    add_from_log(project, store)
    found = [(r.prompt, r.response, r.finished) for r in store.responses()]
    store.engine.dispose()
    assert sorted(found) == sorted(2 * [("a", "to a", True), ("c", "to c", False)])


@pytest.mark.parametrize(("status", "ours"), [("429 Too Many", 429), ("503 Busy", 502)])
def test_when_to_try_again_is_passed_on(hostile, status: str, ours: int) -> None:
    upstream, http = hostile
    head = f"HTTP/1.1 {status}\r\nRetry-After: 17\r\nContent-Length: 2\r\n\r\n"
    upstream.reply = head.encode() + b"{}"
    reply = http.post("/v1/chat/completions", json=ASK)
    assert (reply.status_code, reply.headers["retry-after"]) == (ours, "17")


def test_pages_of_named_origins_may_call(tmp_path: Path) -> None:
    project = make_project("sqlite", tmp_path / "project")
    key, asked = make_key(project, "ann"), "authorization,content-type,x-stainless-lang"
    with running(FakeUpstream()) as address:
        backend = Upstream(f"{address}/v1", name="m")
        origins = ("https://app.example.com",)
        with gateway(project, backend, cors_origins=origins) as url, plain_client() as http:
            for origin, allowed in (("https://app.example.com", True), ("https://evil.com", False)):
                preflight = http.options(
                    f"{url}/v1/chat/completions",
                    headers={
                        "Origin": origin,
                        "Access-Control-Request-Method": "POST",
                        "Access-Control-Request-Headers": asked,
                    },
                )
                assert (preflight.status_code == 200) is allowed
                header = {"Origin": origin, "Authorization": f"Bearer {key}"}
                reply = http.post(f"{url}/v1/chat/completions", json=ASK, headers=header)
                assert ("access-control-allow-origin" in reply.headers) is allowed
                refused = http.post(
                    f"{url}/v1/chat/completions", json=ASK, headers={"Origin": origin}
                )
                assert ("access-control-allow-origin" in refused.headers) is allowed
