"""`understudy serve --workers 2`: one port, one log, one set of limits, and a supervisor."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx2
import openai
import pytest
from tests.gateways import FakeUpstream, make_key, plain_client, running
from tests.stores import make_project

from understudy.serving.serve import ServeConfig
from understudy.serving.workers import listen_together
from understudy.store.prompts.log import PromptLog

END = 60
"""Seconds after which a test gives up on what should come at once."""
ASK = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
ORPHAN = """
import asyncio, multiprocessing, os, time, uvicorn
from understudy.serving.shared import Board
from understudy.serving.workers import Worker

def work():
    multiprocessing.parent_process().join()
    worker = Worker(uvicorn.Config(app=None), Board(1))
    for _ in range(100):  # the kernel names the new parent a little later
        if asyncio.run(worker.on_tick(1)):
            print("ends", flush=True)
            return
        time.sleep(0.1)

def supervise():
    multiprocessing.get_context("fork").Process(target=work).start()
    os._exit(0)

multiprocessing.get_context("fork").Process(target=supervise).start()
"""
"""A worker whose supervisor dies while the worker starts."""


class Stream(socket.socket):
    """A connection with the status of its response."""

    status = 0


class Several:
    """A gateway of several workers."""

    def __init__(self, folder: Path, upstream: str, *options: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        anew = httpx2.Limits(max_keepalive_connections=0)
        self.http = plain_client(timeout=END, limits=anew)
        command = [sys.executable, "-m", "understudy.cli", "serve", "--port", str(self.port)]
        command += ["--project", str(folder), "--upstream", f"{upstream}/v1", "--name", "m"]
        self.process = subprocess.Popen(
            [*command, "--workers", "2", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert b"with 2 workers" in self.process.stdout.readline(), self.process.stderr.read()
        while [_has_log(pid) for pid in self.workers()] != [True, True]:
            assert self.process.poll() is None
        self.get("/health")

    def workers(self) -> list[int]:
        pid = self.process.pid
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def get(self, path: str, key: str = "") -> httpx2.Response:
        """On a connection of its own, which either worker may get."""
        return self.http.get(self.url + path, headers=_header(key))

    def post(self, key: str, body: object = ASK) -> httpx2.Response:
        path = f"{self.url}/v1/chat/completions"
        return self.http.post(path, json=body, headers=_header(key))

    def stream(self, key: str) -> "Stream":
        """A stream that has begun and does not end by itself."""
        client = Stream()
        client.settimeout(END)
        client.connect(("127.0.0.1", self.port))
        asked = {"model": "m", "stream": True}
        body = json.dumps(
            {**asked, "messages": [{"role": "user", "content": "say nothing more"}]}
        ).encode()
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        client.sendall(head.encode() + body)
        said = b""
        while b"say nothing more" not in said and b" 503 " not in said:
            piece = client.recv(1 << 16)
            assert piece, said
            said += piece
        client.status = int(said[9:12])
        return client

    def end(self) -> None:
        with suppress(OSError):  # it has ended
            for pid in self.workers():
                os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.communicate()
        self.http.close()


def _has_log(pid: int) -> bool:
    """Whether a worker has its journal, and so does not need to open the log any more."""
    with suppress(OSError):
        opened = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
        return sum(path.endswith("log.sqlite") for path in opened) > 1
    return False


def _header(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


@pytest.fixture
def start(tmp_path: Path) -> Iterator:
    """Starts gateways before one upstream; each has `project`."""
    project = make_project("sqlite", tmp_path / "project")
    with ExitStack() as stack:
        upstream = stack.enter_context(running(FakeUpstream()))

        def go(*options: str) -> Several:
            several = Several(project.folder, upstream, *options)
            stack.callback(several.end)
            several.project = project
            return several

        go.project = project
        go.upstream = upstream
        yield go


@pytest.fixture
def several(start) -> Several:
    return start()


def test_a_worker_whose_supervisor_died_while_it_started_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, text=True, timeout=END, check=True
    )
    assert done.stdout == "ends\n"


def at_once(call, number: int) -> tuple[list, float]:
    """The results of so many calls by ten threads, and how many seconds they took."""
    begun = time.monotonic()
    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(call, range(number)))
    return found, time.monotonic() - begun


def test_both_count_in_one_bucket(several: Several) -> None:
    key = make_key(several.project, "ann", requests_per_minute=30, tokens_per_day=10**6)
    replies, seconds = at_once(lambda _: several.post(key), 80)
    good = sum(reply.status_code == 200 for reply in replies)
    assert 30 <= good <= 30 + 30 * seconds / 60
    assert {reply.status_code for reply in replies} == {200, 429}
    left = [int(r.headers["x-ratelimit-remaining-requests"]) for r in replies]
    assert min(left) == 0
    assert max(left) == 29


@pytest.mark.thorough
def test_both_count_tokens_of_one_quota_which_a_killed_worker_does_not_reset(
    several: Several,
) -> None:
    key = make_key(several.project, "ann", requests_per_minute=10**6, tokens_per_day=70)
    assert [several.post(key).status_code for _ in range(9)] == [200] * 9  # 7 tokens each
    for worker in several.workers():
        os.kill(worker, signal.SIGKILL)
        assert b"takes its place" in several.process.stderr.readline()
    statuses = [several.post(key).status_code for _ in range(4)]
    assert statuses == [200, 429, 429, 429]


@pytest.mark.thorough
def test_both_count_wrong_keys_of_an_address_together(several: Several) -> None:
    replies, seconds = at_once(lambda n: several.post(f"us-{n:012x}-wrong"), 120)
    wrong = sum(reply.status_code == 401 for reply in replies)
    assert 50 <= wrong <= 50 + 50 * seconds / 60
    spoofed = {**_header("us-0-wrong"), "X-Forwarded-For": "203.0.113.7"}
    replies, more = at_once(
        lambda _: several.http.get(f"{several.url}/v1/models", headers=spoofed), 9
    )
    assert sum(reply.status_code == 401 for reply in replies) <= 1 + 50 * (seconds + more) / 60
    assert several.post(make_key(several.project, "ann")).status_code == 200


@pytest.mark.thorough
def test_connections_are_limited_together(start) -> None:
    several = start("--max-connections", "12")
    key = make_key(several.project, "ann")
    streams = [several.stream(key) for _ in range(11)]
    assert [stream.status for stream in streams] == [200] * 11
    refused = several.stream(key)
    assert refused.status == 503
    refused.close()
    streams.pop().close()
    while (again := several.stream(key)).status == 503:  # until it has noticed
        again.close()
    for stream in (*streams, again):
        stream.close()


def test_health_and_the_models_are_those_of_all_workers(several: Several) -> None:
    key = make_key(several.project, "ann", requests_per_minute=10**6)
    for _ in range(20):
        assert several.post(key).status_code == 200
    while (log := several.get("/health").json()["log"])["written"] < 40:  # prompts and answers
        assert log["lost"] == 0
    assert (log["written"], log["pending"]) == (40, 0)
    fail = {"model": "m", "messages": [{"role": "user", "content": "fail"}]}
    assert several.post(key, fail).status_code == 502
    assert {several.get("/health").json()["status"] for _ in range(12)} == {"degraded"}
    assert several.post(key).status_code == 200
    assert {several.get("/health").json()["status"] for _ in range(12)} == {"ok"}
    assert len({several.get("/v1/models", key).text for _ in range(12)}) == 1


def test_openais_client_streams_through(several: Several) -> None:
    key = make_key(several.project, "ann")
    for _ in range(6):  # connections of its own
        with openai.OpenAI(base_url=f"{several.url}/v1", api_key=key, max_retries=0) as client:
            chunks = list(client.chat.completions.create(**ASK, stream=True))
            whole = client.chat.completions.create(**ASK)
        said = "".join(c.choices[0].delta.content or "" for c in chunks)
        assert said == whole.choices[0].message.content == "You said: Hello"


def test_a_killed_worker_is_replaced_and_the_others_streams_go_on(several: Several) -> None:
    key = make_key(several.project, "ann")
    streams = [several.stream(key) for _ in range(16)]
    first, second = several.workers()
    os.kill(first, signal.SIGKILL)
    line = several.process.stderr.readline().decode()
    pattern = rf"understudy: worker 1 \(process {first}\) was ended by SIGKILL; process (\d+) takes"
    new = int(re.match(pattern, line)[1])
    assert set(several.workers()) == {second, new}
    torn = []
    for stream in streams:
        stream.settimeout(0.0)
        try:
            torn.append(not stream.recv(1))
        except ConnectionResetError:
            torn.append(True)
        except BlockingIOError:
            torn.append(False)
        stream.close()
    assert set(torn) == {True, False}  # both workers had some, and one has its own still
    assert [several.post(key).status_code for _ in range(8)] == [200] * 8


@pytest.mark.thorough
def test_told_to_end_it_lets_answers_end_and_ends_streams_with_an_event(start) -> None:
    several = start("--timeout-s", "8")
    key = make_key(several.project, "ann")
    slow = {"model": "m", "messages": [{"role": "user", "content": "be slow"}]}
    streams = [several.stream(key) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(several.post, key, slow) for _ in range(6)]
        log = PromptLog(several.project.log)
        while sum(event.kind == "prompt" for _, event in log.events()) < 12:
            assert several.process.poll() is None
        log.close()
        several.process.send_signal(signal.SIGTERM)
        assert [answer.result().status_code for answer in answers] == [200] * 6
    for stream in streams:
        said = b""
        while piece := stream.recv(1 << 16):
            said += piece
        *_, last = [line for line in said.split(b"\n") if line.startswith(b"data:")]
        assert json.loads(last.removeprefix(b"data:"))["error"]["code"] == "timeout"
        assert said.endswith(b"0\r\n\r\n")
        stream.close()
    assert several.process.wait(END) == 0


@pytest.mark.thorough
def test_workers_end_with_a_supervisor_that_is_killed(several: Several) -> None:
    workers = several.workers()
    several.process.kill()
    several.process.wait()
    begun = time.monotonic()
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < begun + END
    listen_together("127.0.0.1", several.port, 1, backlog=1, stall_s=1)[0].close()


@pytest.mark.thorough
def test_a_worker_that_cannot_take_a_place_ends_all_with_a_line(several: Several) -> None:
    for suffix in ("", "-wal", "-shm"):
        path = Path(f"{several.project.log}{suffix}")
        path.unlink(missing_ok=True)
    several.project.log.write_bytes(b"not a log" * 1000)
    os.kill(several.workers()[0], signal.SIGKILL)
    _, said = several.process.communicate(timeout=END)
    *_, last = said.decode().strip().splitlines()
    assert re.match(r"understudy: error: worker 1 could not start: the log .* cannot be used", last)
    assert b"Traceback" not in said
    assert several.process.returncode == 1
    with pytest.raises(httpx2.TransportError):
        several.get("/health")


@pytest.mark.thorough
@pytest.mark.parametrize("broken", ["store", "log", "port"])
def test_what_no_worker_could_start_with_is_one_line(start, broken: str) -> None:
    command = [sys.executable, "-m", "understudy.cli", "serve", "--workers", "2"]
    command += ["--project", str(start.project.folder), "--upstream", f"{start.upstream}/v1"]
    if broken == "port":
        command += ["--port", str(start().port)]  # where two other workers are
    else:
        command += ["--port", "1"]
        path = start.project.folder / f"{broken}.sqlite"
        path.unlink(missing_ok=True)
        if broken == "log":
            path.write_bytes(b"not a log" * 1000)
    ended = subprocess.run(command, capture_output=True, text=True, timeout=END)
    assert ended.returncode in (1, 2)
    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1
    assert {"store": "does not exist", "log": "cannot be used", "port": "cannot listen"}[
        broken
    ] in ended.stderr


def test_a_used_port_is_refused_before_the_model_is_loaded(start) -> None:
    command = [sys.executable, "-m", "understudy.cli", "serve", "--model", "/no/model"]
    command += ["--project", str(start.project.folder), "--port", str(start().port)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=END)
    assert "cannot listen" in ended.stderr
    assert ended.returncode == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"upstream": "http://h/v1", "workers": 0}, "workers is 0; it must be from 1 to"),
        ({"upstream": "http://h/v1", "workers": 8000}, "workers is 8000; it must be from 1 to"),
        ({"model": "m", "workers": 2}, "each would hold it again.*--upstream"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ServeConfig(**options)


def test_every_acknowledged_prompt_is_in_the_log_once(several: Several) -> None:
    key = make_key(several.project, "ann", requests_per_minute=10**6)

    def ask(number: int) -> int:
        turns = [{"role": "user", "content": f"prompt {number}"}]
        return several.post(key, {"model": "m", "messages": turns}).status_code

    statuses, _ = at_once(ask, 100)
    assert statuses == [200] * 100
    log = PromptLog(several.project.log)
    events = [event for _, event in log.events() if event.kind == "prompt"]
    log.close()
    said = [event.body["prompts"][0][0]["content"] for event in events]
    assert sorted(said) == sorted(f"prompt {n}" for n in range(100))
