"""Limits on the connection: the size of a request, and how slowly it may be sent or read.

Plain ASGI around the whole application, so that every route has them.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from understudy.serving.wire import ApiError, error_body

LOOK_SECONDS = 0.1
"""How long work runs before the gateway checks whether the client is still there."""
Result = TypeVar("Result")
Scope = dict[str, Any]


class ClientGone(OSError):
    """The client no longer reads the response."""


class Guard:
    """Wraps an ASGI application."""

    def __init__(
        self, app: Any, *, max_body_bytes: int, stall_s: float, timeout_s: float = 120
    ) -> None:
        self.app, self.max_body = app, max_body_bytes
        self.stall_s, self.timeout_s = stall_s, timeout_s

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Pass a request on; 413 if it is too large, 408 if it stalls; disconnects a reader that
        stalls."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self.max_body:
            await _reply(send, 413, f"the body is larger than {self.max_body} bytes")
            return
        taken, complete, gone = 0, False, False
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.timeout_s  # for the whole body, however slow

        async def bounded() -> Any:
            nonlocal taken, complete, gone
            if complete:
                message = await receive()  # only a disconnect can follow
                gone = gone or message["type"] == "http.disconnect"
                return message
            nearest = min(deadline, loop.time() + self.stall_s)
            try:
                message = await attended(receive(), until=nearest)
            except TimeoutError:
                raise ApiError(408, "the request's body did not arrive in time") from None
            taken += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if taken > self.max_body:
                raise ApiError(413, f"the body is larger than {self.max_body} bytes")
            return message

        async def steady(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            if gone:  # the server would accept the message silently
                raise ClientGone("the client has closed the connection")
            # The kernel takes the last part and drops a stalled reader itself (web/protocol.py).
            if not message.get("more_body"):
                await send(message)
                return
            try:
                async with asyncio.timeout(self.stall_s):
                    await send(message)
            except TimeoutError:
                raise ClientGone("the client does not read the response") from None

        with suppress(ClientGone):
            await self.app(scope, bounded, steady)


async def attended(
    work: Awaitable[Result],
    *,
    until: float | None = None,
    receive: Callable[[], Awaitable[Any]] | None = None,
) -> Result:
    """The result of `work`. Cancels it with TimeoutError at the time `until` of the event loop, and
    with ClientGone once `receive` returns, which by now can only mean a disconnect.

    Like `asyncio.timeout` around a task that waits for `receive`, but work that is done before
    LOOK_SECONDS costs one timer and no task.
    """
    here = asyncio.current_task()
    assert here is not None
    loop, before = here.get_loop(), here.cancelling()
    why: Exception | None = None
    timer: asyncio.TimerHandle | None = None
    gone: asyncio.Future[Any] | None = None

    def stop(error: Exception) -> None:
        nonlocal why
        if why is None:
            why = error
            here.cancel()

    def leave(_: object) -> None:
        stop(ClientGone("the client has disconnected"))

    def look() -> None:
        nonlocal gone, timer
        if receive is not None:
            gone = asyncio.ensure_future(receive())
            gone.add_done_callback(leave)
        timer = None if until is None else loop.call_at(until, stop, TimeoutError())

    soon = loop.time() + LOOK_SECONDS
    if receive is not None and (until is None or soon < until):
        timer = loop.call_at(soon, look)
    elif until is not None:
        timer = loop.call_at(until, stop, TimeoutError())
    try:
        return await work
    except asyncio.CancelledError:
        if why is None or here.cancelling() > before + 1:  # cancelled from elsewhere
            raise
        raise why from None
    finally:
        if timer is not None:
            timer.cancel()
        if gone is not None:
            gone.remove_done_callback(leave)
            gone.cancel()
        if why is not None:
            here.uncancel()


_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'"),
]


async def _reply(send: Any, status: int, message: str) -> None:
    body = json.dumps(error_body(message, "invalid_request_error")).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close"), *_HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
