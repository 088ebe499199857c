"""Uvicorn's HTTP protocol with a limit on how long, and how large, a request's head may be, and on
how many connections may wait for one.

Uvicorn itself waits for a head without end, so that connections that send one byte a minute
(slowloris), or nothing, would take every place there is. Here the one that has waited longest makes
room for a new one. The body's limits are each server's own.
"""

import socket
from asyncio import TimerHandle
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from understudy.web import sockets

MAX_HEAD = 1 << 16
"""Bytes that the line and the headers of a request may have."""
_END = b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_LATE = b"HTTP/1.1 408 Request Timeout" + _END
_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large" + _END


class PatientProtocol(HttpToolsProtocol):
    """One client's connection; the class's values are set by `patient`."""

    head_seconds = 20.0
    most_idle = 512
    idle: dict["PatientProtocol", None]
    """The connections between requests, the one that has waited longest first."""

    def connection_made(self, transport: Any) -> None:
        """A head is awaited from now on."""
        self._timer: TimerHandle | None = None
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head."""
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._await_head()
        self._head_bytes += len(data)
        super().data_received(data)
        if self._timer is not None and self._head_bytes > MAX_HEAD:
            self._refuse(_LARGE)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._stop_waiting()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Nothing to do until the next request, if there is one."""
        super().on_response_complete()
        if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            self._is_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._is_idle()
        self._timer = self.loop.call_later(self.head_seconds, self._refuse, _LATE)

    def _is_idle(self) -> None:
        self.idle[self] = None
        if len(self.idle) > self.most_idle:
            next(iter(self.idle))._refuse(b"")

    def _stop_waiting(self) -> None:
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
    """The protocol that waits so long for a head, on so many connections at a time."""
    values = {"head_seconds": seconds, "most_idle": most_idle, "idle": {}}
    return type("PatientProtocol", (PatientProtocol,), values)


def listen(host: str, port: int, *, backlog: int, stall_s: float) -> socket.socket:
    """A listening socket on whose connections the kernel gives up a client that takes nothing;
    ValueError where there can be none.

    That holds for whole answers, which Uvicorn hands to the kernel at once and then forgets.
    """
    listener = sockets.listen(host, port, backlog=backlog)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; inherited by every connection
        milliseconds = max(1, int(1000 * stall_s))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    return listener
