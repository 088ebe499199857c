"""A minimal HTTP/1.1 client for the gateway's upstream.

It follows no redirects, decompresses nothing, and uses no proxies or cookies. Connections are
reused, one request at a time each; a request on a connection that the server is closing is retried
on a new one, as long as no part of a response has arrived.
"""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpResponseParser

from understudy.serving.addresses import Resolve, ask_system, checked_addresses

IDLE_SECONDS = 2.0
"""How long an idle connection is kept: less than servers do (Uvicorn 5 s)."""
CONNECT_SECONDS = 10.0
"""Timeout for connecting."""
MAX_RESPONSE = 64 << 20
"""Largest response that is read whole, in bytes."""
MAX_WAITING = 1 << 18
"""Unread bytes of a response at which reading pauses."""


class Unreachable(Exception):
    """The server cannot be reached, has closed the connection, or does not speak HTTP."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response."""

    status: int
    """HTTP status."""
    body: bytes
    """The body."""
    retry_after: str = ""
    """Retry-After, if the server sent it."""


class Connection(asyncio.Protocol):
    """One connection to the server."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.closed = False
        self.idle_since = 0.0
        self._waiter: asyncio.Future[None] | None = None
        self._begin()

    def _begin(self) -> None:
        self.parser = HttpResponseParser(self)
        self.pieces: deque[bytes] = deque()
        self.waiting, self.status = 0, 0
        self.begun, self.complete, self.keep = False, False, False
        self.until_close = True
        self.problem, self.retry_after = "", ""

    # Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass of it

    def data_received(self, data: bytes) -> None:
        """A part of a response, or unsolicited data."""
        if self.complete or self.idle_since:
            self.close()
            return
        self.begun = True
        try:
            self.parser.feed_data(data)
        except HttpParserError as error:
            self.problem = f"the response is not HTTP ({error})"
            self.close()
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        """Disconnected, which may end a response without a length."""
        self.closed = True
        if not self.complete:
            if self.status and self.until_close and error is None and not self.problem:
                self.complete = True
            else:
                self.problem = self.problem or "the connection was closed"
        self._wake()

    # Called by the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; keeps those on the response's length and on retrying."""
        if name.lower() == b"retry-after":
            self.retry_after = value.decode("latin-1")
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self.until_close = False

    def on_headers_complete(self) -> None:
        """The head is complete; a 1xx response is only interim."""
        status = self.parser.get_status_code()
        self.status = status if status >= 200 else 0

    def on_body(self, piece: bytes) -> None:
        """A part of the body."""
        self.pieces.append(piece)
        self.waiting += len(piece)
        if self.waiting > MAX_WAITING and self.transport is not None:
            self.transport.pause_reading()

    def on_message_complete(self) -> None:
        """The response is complete."""
        if self.status:
            self.complete, self.keep = True, self.parser.should_keep_alive()

    # Called by the client

    async def ask(self, data: bytes) -> int:
        """Send a request; returns the response's status. Unreachable if none comes."""
        self._begin()
        self.idle_since = 0.0
        if self.closed or self.transport is None:
            raise Unreachable("the connection was closed")
        self.transport.write(data)
        while not self.status:
            await self._change()
        return self.status

    async def take(self) -> bytes:
        """The next piece of the body; empty at its end."""
        while not self.pieces and not self.complete:
            await self._change()
        if not self.pieces:
            return b""
        piece = self.pieces.popleft()
        self.waiting -= len(piece)
        if self.waiting <= MAX_WAITING and self.transport is not None and not self.closed:
            self.transport.resume_reading()
        return piece

    def close(self) -> None:
        """Close immediately."""
        if self.transport is not None:
            self.transport.abort()
        self.closed = True

    async def _change(self) -> None:
        """Wait until data has arrived."""
        if self.closed or self.problem:
            raise Unreachable(self.problem or "the connection was closed")
        self._waiter = self.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self.problem:
            raise Unreachable(self.problem)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Client:
    """A client of one server; used on the event loop."""

    def __init__(
        self,
        url: str,
        *,
        headers: dict[str, str] | None = None,
        private: bool = False,
        resolve: Resolve = ask_system,
    ) -> None:
        parts = urlsplit(url)
        self.host, self.secure = str(parts.hostname), parts.scheme == "https"
        self.port = parts.port or (443 if self.secure else 80)
        self.path, self.private, self.resolve = parts.path, private, resolve
        self.tls = ssl.create_default_context() if self.secure else None
        self.idle: deque[Connection] = deque()
        fixed = {
            "Host": parts.netloc,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            **(headers or {}),
        }
        self.head = "".join(f"{name}: {value}\r\n" for name, value in fixed.items())

    async def post(self, path: str, body: bytes) -> Answer:
        """The whole response; Unreachable or ValueError (a refused address) if there is none."""
        async with self.asking(path, body) as (status, connection):
            pieces, size = [], 0
            while piece := await connection.take():
                size += len(piece)
                if size > MAX_RESPONSE:
                    raise Unreachable(f"the response is larger than {MAX_RESPONSE} bytes")
                pieces.append(piece)
            return Answer(status, b"".join(pieces), connection.retry_after)

    @asynccontextmanager
    async def asking(self, path: str, body: bytes) -> AsyncIterator[tuple[int, Connection]]:
        """(status, connection from which to read the body); reused once the body has been read."""
        head = f"POST {self.path}{path} HTTP/1.1\r\n{self.head}Content-Length: {len(body)}\r\n\r\n"
        data = head.encode("latin-1") + body
        connection = self._kept() or await self._connect()
        try:
            try:
                status = await connection.ask(data)
            except Unreachable:
                if connection.begun:
                    raise
                connection.close()  # it was closing; no part of a response has arrived
                connection = await self._connect()
                status = await connection.ask(data)
            yield status, connection
        finally:
            if connection.complete and connection.keep and not connection.closed:
                connection.idle_since = time.monotonic()
                self.idle.append(connection)
            else:
                connection.close()

    def close(self) -> None:
        """Close idle connections."""
        while self.idle:
            self.idle.pop().close()

    def _kept(self) -> Connection | None:
        """The connection used last, if still good; closes older ones."""
        oldest = time.monotonic() - IDLE_SECONDS
        while self.idle and (self.idle[0].closed or self.idle[0].idle_since < oldest):
            self.idle.popleft().close()
        while self.idle:
            connection = self.idle.pop()
            if not connection.closed:
                return connection
        return None

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        name: Any = self.host if self.secure else None
        problem: Exception | None = None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                addresses = await checked_addresses(
                    self.host, self.port, private=self.private, resolve=self.resolve
                )
                for address in addresses:
                    try:
                        _, connection = await loop.create_connection(
                            Connection, address, self.port, ssl=self.tls, server_hostname=name
                        )
                    except OSError as error:
                        problem = error
                    else:
                        return connection
        except (TimeoutError, OSError) as error:
            problem = error
        raise Unreachable(f"no connection ({type(problem).__name__})")
