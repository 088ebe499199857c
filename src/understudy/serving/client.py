"""The HTTP client of the gateway's upstream: aiohttp, held to what the config allows.

It follows no redirects, decompresses nothing, and knows no proxies, cookies or netrc. The resolver
gives aiohttp only checked addresses, once per connection, and aiohttp connects to exactly those.
Connections are kept; a request on one that the server is closing is sent again on a new one, as
long as no part of a response has arrived.
"""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from understudy.serving.addresses import (
    Resolve,
    ask_system,
    checked_addresses,
    parse_address,
    why_refused,
)

IDLE_SECONDS = 2.0
"""How long an idle connection is kept: less than servers do (Uvicorn 5 s)."""
CONNECT_SECONDS = 10.0
"""Timeout for connecting."""
MAX_RESPONSE = 64 << 20
"""Largest response that is read whole, in bytes."""


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


class Checked(AbstractResolver):
    """Resolves a name to addresses that the gateway may connect to."""

    def __init__(self, *, private: bool, resolve: Resolve) -> None:
        self.private, self.ask = private, resolve

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses; ValueError if any is not allowed."""
        found = await checked_addresses(host, port, private=self.private, resolve=self.ask)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in found
        ]

    async def close(self) -> None:
        """Nothing is open."""


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
        """ValueError if the URL has an address that is never allowed."""
        self.url, self.private, self.resolve = url, private, resolve
        host = str(urlsplit(url).hostname)
        if parse_address(host) and (problem := why_refused(host, private=True)):
            raise ValueError(f"upstream {host} leads to {host}, {problem}")
        self.headers = {
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "User-Agent": "understudy",
            **(headers or {}),
        }
        self.sessions: list[aiohttp.ClientSession] = []

    async def post(self, path: str, body: bytes) -> Answer:
        """The whole response; Unreachable or ValueError (a refused address) if there is none."""
        try:
            response = await self._send(path, body)
            try:
                return Answer(response.status, await _whole(response), retry_after(response))
            finally:
                response.release()
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(type(error).__name__) from None

    @asynccontextmanager
    async def asking(self, path: str, body: bytes) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response, whose body the caller reads; then the connection can be reused."""
        try:
            response = await self._send(path, body)
            try:
                yield response
            finally:
                response.release()
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(type(error).__name__) from None

    async def _send(self, path: str, body: bytes) -> aiohttp.ClientResponse:
        kept, new = self.sessions or self._open()
        target = self.url + path
        try:
            return await kept.post(target, data=body, allow_redirects=False)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            if not _was_closing(error):
                raise
        return await new.post(target, data=body, allow_redirects=False)

    async def close(self) -> None:
        """Close the connections."""
        while self.sessions:
            await self.sessions.pop().close()

    def _open(self) -> list[aiohttp.ClientSession]:
        """A session that keeps its connections, and one that makes a new one for each request."""
        self.sessions = [
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=Checked(private=self.private, resolve=self.resolve),
                    use_dns_cache=False,
                    limit=0,
                    **options,
                ),
                headers=self.headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                auto_decompress=False,
            )
            for options in ({"keepalive_timeout": IDLE_SECONDS}, {"force_close": True})
        ]
        return self.sessions


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    pieces, size = [], 0
    while piece := await response.content.readany():
        size += len(piece)
        if size > MAX_RESPONSE:
            raise Unreachable(f"the response is larger than {MAX_RESPONSE} bytes")
        pieces.append(piece)
    return b"".join(pieces)


def retry_after(response: aiohttp.ClientResponse) -> str:
    """Retry-After, if the server sent it."""
    return response.headers.get("Retry-After", "")


def _was_closing(error: Exception) -> bool:
    """Whether the server closed the connection before any part of a response."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return isinstance(error.message, str)  # otherwise the part of a head that has arrived
    return not isinstance(error, aiohttp.ClientConnectorError)
