"""The client of the gateway's upstream: what it takes, what it tries again, what it never does."""

import asyncio
import gzip
import socket
from contextlib import closing

import pytest
from tests.gateways import Scripted

from understudy.serving import client as client_module
from understudy.serving.client import Answer, Client, Unreachable


async def _post(url: str) -> Answer:
    client = Client(url)
    try:
        return await client.post("/x", b"{}")
    finally:
        await client.close()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", Answer(200, b"hi")),
        (
            b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
            Answer(200, b"until the end"),
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
            Answer(200, b"abc"),
        ),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not\r\nContent-Length: 0\r\n\r\n",
            Answer(404, b""),
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "ClientPayloadError"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "ClientResponseError"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "ClientResponseError"),
    ],
)
def test_the_answers_that_a_server_can_give(answer: bytes, expected) -> None:
    with Scripted([answer]) as url:
        if isinstance(expected, Answer):
            assert asyncio.run(_post(url)) == expected
        else:
            with pytest.raises(Unreachable, match=expected):
                asyncio.run(_post(url))


def test_where_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unreachable, match="ClientConnectorError"):
        asyncio.run(_post(f"http://127.0.0.1:{port}"))


GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@pytest.mark.parametrize(
    ("begun", "tried_again"),
    [(b"", True), (b"H", False), (b"HTTP/1.1 200 OK\r\nContent-Le", False)],
)
def test_a_request_is_sent_again_only_if_nothing_has_arrived(begun: bytes, tried_again) -> None:
    server = Scripted([begun, GOOD])
    with server as url:
        if tried_again:
            assert asyncio.run(_post(url)) == Answer(200, b"hi")
            assert len(server.asked) == 2
            return
        with pytest.raises(Unreachable):
            asyncio.run(_post(url))
        assert len(server.asked) == 1
        assert asyncio.run(_post(url)) == Answer(200, b"hi")


def test_it_sends_no_cookies_and_decompresses_nothing() -> None:
    packed = gzip.compress(b"x" * 10_000)
    head = "Set-Cookie: a=b; Path=/\r\nContent-Encoding: gzip"
    answer = f"HTTP/1.1 200 OK\r\n{head}\r\nContent-Length: {len(packed)}\r\n\r\n".encode()
    server = Scripted([answer + packed, GOOD])

    async def twice(url: str) -> list[Answer]:
        client = Client(url)
        try:
            return [await client.post("/x", b"{}"), await client.post("/x", b"{}")]
        finally:
            await client.close()

    with server as url:
        assert [reply.body for reply in asyncio.run(twice(url))] == [packed, b"hi"]
    for asked in server.asked:
        assert b"cookie" not in asked.lower()
        assert b"accept-encoding: identity" in asked.lower()


def test_a_response_that_is_too_large_is_not_kept(monkeypatch) -> None:
    monkeypatch.setattr(client_module, "MAX_RESPONSE", 1000)
    with (
        Scripted([b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001]) as url,
        pytest.raises(Unreachable, match="larger than 1000"),
    ):
        asyncio.run(_post(url))


def test_an_address_that_is_never_allowed_is_refused_at_once() -> None:
    for host in ("169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "0.0.0.0"):
        with pytest.raises(ValueError, match="never allowed"):
            Client(f"http://{host}/v1")


def test_other_spellings_of_an_address_are_names(monkeypatch) -> None:
    """2130706433 is 127.0.0.1 to a resolver, and checked like what a name leads to."""
    with closing(socket.create_server(("127.0.0.1", 0))) as trap:
        trap.settimeout(0.0)
        for host in ("2130706433", "0x7f000001", "127.1"):
            with pytest.raises((Unreachable, ValueError)):
                asyncio.run(_post(f"http://{host}:{trap.getsockname()[1]}"))
        with pytest.raises(BlockingIOError):
            trap.accept()
