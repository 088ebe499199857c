"""Real connections to a real server: heads that stall, and half-open ones in great number."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import uvicorn
from tests.web.site import free_port

from understudy.web.protocol import listen, patient

HALF = b"GET / HTTP/1.1\r\nHost: x\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    length = [(b"content-length", b"4")]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": b"here"})


@pytest.fixture
def serve() -> Iterator[Callable[..., int]]:
    """Serve the application with a protocol; the port."""
    running = []

    def start(protocol: type) -> int:
        port = free_port()
        listener = listen("127.0.0.1", port, backlog=64, stall_s=60)
        config = uvicorn.Config(app, http=protocol, lifespan="off", log_level="warning")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        running.append((server, thread))
        return port

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(4096), b""))


def test_a_head_that_does_not_come_is_ended(serve: Callable[..., int]) -> None:
    with connect(serve(patient(0.2))) as slow:
        slow.sendall(HALF)
        assert read_all(slow).startswith(b"HTTP/1.1 408 ")


def test_half_open_connections_do_not_keep_others_out(serve: Callable[..., int]) -> None:
    port = serve(patient(600, most_idle=3))
    half_open = [connect(port) for _ in range(4)]
    for connection in half_open:
        connection.sendall(HALF)
    with suppress(ConnectionResetError):  # it may be closed before its bytes are read
        assert read_all(half_open[0]) == b""  # the one that has waited longest makes room
    with connect(port) as whole:
        whole.sendall(HALF + b"Connection: close\r\n\r\n")
        assert read_all(whole).endswith(b"here")
    half_open[-1].sendall(b"Connection: close\r\n\r\n")  # who came late is still served
    assert read_all(half_open[-1]).endswith(b"here")
    for connection in half_open:
        connection.close()


class Spy:
    """A transport whose writes are kept."""

    def __init__(self, transport: Any, writes: list[bytes]) -> None:
        self.transport, self.writes = transport, writes

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        self.transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


def test_head_and_body_are_written_in_one_piece(serve: Callable[..., int]) -> None:
    writes: list[bytes] = []

    class Watched(patient(60)):  # type: ignore[misc]
        def connection_made(self, transport: Any) -> None:
            super().connection_made(Spy(transport, writes))

    with connect(serve(Watched)) as client:
        client.sendall(HALF + b"\r\n")
        first = b""
        while not first.endswith(b"here"):
            first += client.recv(4096)
        client.sendall(HALF + b"Connection: close\r\n\r\n")
        assert writes == [first, read_all(client)]
