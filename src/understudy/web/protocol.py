"""Uvicorn's HTTP protocol with limits on the time and size of a request's head and on the number of
connections without a request.

Uvicorn itself waits for a head forever, so connections that send one byte a minute (slowloris), or
nothing, could use up all connections. Here the one that has waited longest is closed for a new one.
Each server sets its own limits on the body.

A response's head and body are written in one piece, so that its client is woken once.
"""

import socket
from asyncio import AbstractEventLoop, TimerHandle
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from understudy.web import sockets

MAX_HEAD = 1 << 16
"""Most bytes of a request's line and headers."""
_END = b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_LATE = b"HTTP/1.1 408 Request Timeout" + _END
_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large" + _END


class Joining:
    """A transport that writes two pieces of one turn of the event loop as one."""

    def __init__(self, transport: Any, loop: AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._held = b""

    def write(self, data: bytes) -> None:
        """Write with the piece before it, or else with the next one or at the end of the turn."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held + data)
        else:
            self._held = data
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        """Close, after what is left to write."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held and not self._transport.is_closing():
            self.write(b"")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class PatientProtocol(HttpToolsProtocol):
    """One client's connection; the class's values are set by `patient`."""

    head_seconds = 20.0
    most_idle = 512
    idle: dict["PatientProtocol", None]
    """Connections without a request, the one that has waited longest first."""

    def connection_made(self, transport: Any) -> None:
        """Start waiting for a head."""
        self._timer: TimerHandle | None = None
        self._awaits_head, self._head_bytes = True, 0
        super().connection_made(Joining(transport, self.loop))  # type: ignore[arg-type]
        self._await_more()

    def data_received(self, data: bytes) -> None:
        """Count the bytes of a head."""
        if not self._awaits_head and (self.cycle is None or self.cycle.response_complete):
            self._awaits_head, self._head_bytes = True, 0
        self._head_bytes += len(data)
        super().data_received(data)
        if not self._awaits_head or self.transport.is_closing():
            return
        if self._head_bytes > MAX_HEAD:
            self._refuse(_LARGE)
        elif self._timer is None:  # most heads come whole, and need none
            self._await_more()

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._stop_waiting()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, if any."""
        super().on_response_complete()
        if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            self._is_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_more(self) -> None:
        self._is_idle()
        self._timer = self.loop.call_later(self.head_seconds, self._refuse, _LATE)

    def _is_idle(self) -> None:
        self.idle[self] = None
        if len(self.idle) > self.most_idle:
            next(iter(self.idle))._refuse(b"")

    def _stop_waiting(self) -> None:
        self._awaits_head = False
        self.idle.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, reply: bytes) -> None:
        self._stop_waiting()
        if not self.transport.is_closing():
            self.transport.write(reply)
            self.transport.close()


def patient(seconds: float, most_idle: int = 512) -> type[PatientProtocol]:
    """A protocol class with this timeout for a head and this many connections."""
    values = {"head_seconds": seconds, "most_idle": most_idle, "idle": {}}
    return type("PatientProtocol", (PatientProtocol,), values)


def listen(
    host: str, port: int, *, backlog: int, stall_s: float, reuse_port: bool = False
) -> socket.socket:
    """A listening socket whose connections the kernel drops if the client reads nothing; ValueError
    if it cannot listen.

    This covers whole responses, which Uvicorn hands to the kernel in one piece.
    """
    listener = sockets.listen(host, port, backlog=backlog, reuse_port=reuse_port)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; inherited by every connection
        milliseconds = max(1, int(1000 * stall_s))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    return listener
