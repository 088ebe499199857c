"""Slow, large and malicious clients, on real sockets."""

import json
import re
import select
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from tests.gateways import FakeUpstream, make_key, running
from tests.stores import make_project

from understudy.serving.app import build_app
from understudy.serving.gateway import Settings
from understudy.serving.upstream import Upstream
from understudy.web.protocol import MAX_HEAD, patient

STALL = 0.3
END = 60_000
"""Milliseconds after which a test gives up on an end that should come in less than one second."""


class Site:
    """A gateway that has little patience, before an upstream that says much."""

    def __init__(self, url: str, key: str, upstream: FakeUpstream) -> None:
        self.port, self.key, self.upstream = int(url.rpartition(":")[2]), key, upstream

    def connect(self, receive_buffer: int | None = None) -> socket.socket:
        client = socket.socket()
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            client.connect(("127.0.0.1", self.port))
        except OSError:
            client.close()
            raise
        return client

    def head(self, length: int | str, key: str | None = None) -> bytes:
        size = f"Content-Length: {length}" if isinstance(length, int) else length
        return (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {key or self.key}\r\n{size}\r\n\r\n"
        ).encode()

    def request(self, text: str, **fields: object) -> bytes:
        asked = {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
        body = json.dumps(asked).encode()
        return self.head(len(body)) + body


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    project = make_project("sqlite", tmp_path_factory.mktemp("limits") / "project")
    key = make_key(project, "ann")
    upstream = FakeUpstream()
    limits = Settings(log=project.log, requests_per_minute=10_000, stall_s=STALL, timeout_s=30)
    with running(upstream) as address:
        backend = Upstream(f"{address}/v1", name="m")
        app = build_app(limits, project.open_store(), backend)
        with running(app, http=patient(STALL), stall_s=STALL) as url:
            yield Site(url, key, upstream)


def wait_until_it_is_given_up(client: socket.socket) -> None:
    """Until the kernel knows the server's end of the connection no more; nobody tells the client,
    as nothing could reach it."""
    server, mine = client.getpeername()[1], client.getsockname()[1]
    ends = re.compile(rf"\d+: \w+:{server:04X} \w+:{mine:04X} 01 ")
    for _ in range(END // 10):
        if not ends.search(Path("/proc/net/tcp").read_text()):
            return
        select.select([], [], [], 0.01)
    pytest.fail("the connection is still open")


def reply(client: socket.socket) -> bytes:
    """One whole answer on a connection that stays open."""
    found = b""
    while b"\r\n\r\n" not in found:
        piece = client.recv(1 << 16)
        if not piece:
            return found
        found += piece
    head, _, body = found.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
    while len(body) < length:
        body += client.recv(1 << 16)
    return head + b"\r\n\r\n" + body


def all_of(client: socket.socket) -> bytes:
    """What comes until the connection ends."""
    client.settimeout(END / 1000)
    found = b""
    try:
        while piece := client.recv(1 << 16):
            found += piece
    except ConnectionResetError:
        pass
    return found


def test_a_reader_who_takes_nothing_of_a_stream_is_cut_off_and_so_is_the_upstream(site) -> None:
    with site.connect(receive_buffer=4096) as client:
        client.sendall(site.request("say much", stream=True))
        assert site.upstream.ended.wait(END / 1000)


def test_a_reader_who_takes_nothing_of_a_whole_answer_is_cut_off(site) -> None:
    """The server has handed the answer to the kernel; the kernel ends the connection."""
    with site.connect(receive_buffer=4096) as client:
        client.sendall(site.request("say much"))
        wait_until_it_is_given_up(client)


@pytest.mark.parametrize("begun", [b"", b"POST /v1/chat", b"GET /health HTTP/1.1\r\nHost: h\r\nX-"])
def test_a_head_that_does_not_arrive_ends_the_connection(site, begun: bytes) -> None:
    with site.connect() as client:
        client.sendall(begun)
        assert all_of(client).startswith(b"HTTP/1.1 408")


def test_the_next_head_on_a_connection_has_its_limit_too(site) -> None:
    with site.connect() as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n")
        assert reply(client).startswith(b"HTTP/1.1 200")
        client.sendall(b"GET /health HT")
        assert b"HTTP/1.1 408" in all_of(client)


def test_a_head_in_drops_has_no_more_time(site) -> None:
    """A byte now and then does not help: the whole head has the time, not each byte."""
    with site.connect() as client:
        client.settimeout(STALL / 10)
        for _ in range(10_000):
            try:
                client.sendall(b"x")
                if client.recv(1):
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        else:
            pytest.fail("the connection is still open")


def test_a_head_without_end_is_refused(site) -> None:
    with site.connect() as client:
        client.sendall(b"GET /health HTTP/1.1\r\nX-Long: " + b"x" * (MAX_HEAD + 10))
        assert all_of(client).startswith(b"HTTP/1.1 431")


def test_a_body_that_does_not_arrive_is_told(site) -> None:
    with site.connect() as client:
        client.sendall(site.head(100) + b'{"model"')
        assert reply(client).startswith(b"HTTP/1.1 408")


def test_fifty_wrong_keys_and_then_one_has_to_wait(site) -> None:
    statuses = []
    with site.connect() as client:
        for number in range(60):
            client.sendall(site.head(0, key=f"us-{number:012x}-wrong"))
            statuses.append(int(reply(client)[9:12]))
        assert statuses[:50] == [401] * 50
        assert 429 in statuses[50:]
        client.sendall(site.request("Hello"))  # nobody is locked out
        assert reply(client).startswith(b"HTTP/1.1 200")


NESTED = '{"model": "m", "messages": [{"role": "user", "content": %s}]}'


@pytest.mark.parametrize("depth", [1_000, 100_000])
def test_nested_arrays_are_an_error_like_any_other(site, depth: int) -> None:
    for body in ("[" * depth + "]" * depth, NESTED % ("[" * depth + "]" * depth), "[" * depth):
        with site.connect() as client:
            client.sendall(site.head(len(body)) + body.encode())
            said = reply(client)
        assert said.startswith(b"HTTP/1.1 400"), said[:100]
        assert b"invalid_request_error" in said


# A gateway of its own process


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    """`understudy serve` with what it prints in a file: the running one, or a new one where a
    test has ended it.
    """
    folder = tmp_path_factory.mktemp("process")
    project = make_project("sqlite", folder / "project")
    key = make_key(project, "ann")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    site = Site(f"http://127.0.0.1:{port}", key, FakeUpstream())
    said = folder / "said.txt"
    servers = []
    with running(FakeUpstream()) as upstream, said.open("w") as stream:
        command = [sys.executable, "-m", "understudy.cli", "serve", "--port", str(port)]
        command += ["--project", str(project.folder), "--upstream", f"{upstream}/v1"]
        command += ["--name", "m", "--stall-s", "10"]

        def serve():
            if not servers or servers[-1].poll() is not None:
                servers.append(subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT))
                while not _answers(site):
                    assert servers[-1].poll() is None, said.read_text()
            return site, servers[-1], said, project

        yield serve
        for server in servers:
            server.kill()
            server.wait()


def _answers(site: Site) -> bool:
    try:
        with site.connect() as client:
            client.sendall(b"GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            return b"200 OK" in all_of(client)
    except ConnectionRefusedError:
        return False


def peak_memory(server: subprocess.Popen) -> int:
    """The most that a process has had, in MiB; the count starts anew."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) // 1024


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_of_100_megabytes_takes_less_than_20_of_memory(serve, declared: bool) -> None:
    site, server, _, _ = serve()
    before, piece = peak_memory(server), b"x" * (1 << 20)
    said = b""
    with site.connect() as client:
        try:
            length = 100 << 20 if declared else "Transfer-Encoding: chunked"
            client.sendall(site.head(length))
            for _ in range(100):
                client.sendall(piece if declared else b"100000\r\n" + piece + b"\r\n")
        except ConnectionError:
            pass  # it has been told before it was done
        with suppress(ConnectionError):  # the refusal is thrown away with what was not read
            said = client.recv(1 << 16)
    assert said == b"" or said.startswith(b"HTTP/1.1 413")
    assert peak_memory(server) - before < 20


def test_neither_key_nor_prompt_is_in_what_it_prints_or_keeps(serve) -> None:
    site, server, said, project = serve()
    secret = "canary-of-a-prompt-in-no-log"
    wrong = "us-0123456789ab-a-wrong-key"
    with site.connect() as client:
        for asked in (
            site.request(secret, store=False),
            site.request(secret + " fail", store=False),
            site.head(2, key=wrong) + b"{}",
            site.head(len(secret)) + secret.encode(),
        ):
            client.sendall(asked)
            assert reply(client).startswith(b"HTTP/1.1")
    server.send_signal(signal.SIGTERM)
    assert server.wait(60) in (0, -signal.SIGTERM)
    for path in (said, *project.folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            for text in (site.key, site.key.split("-", 2)[2], secret, wrong):
                assert text.encode() not in content, path
    assert "Traceback" not in said.read_text()
