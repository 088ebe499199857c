"""The gateway: from a request to a response of its backend.

A request is authenticated and checked against limits; the prompt is logged (with consent) while the
model answers, and no part of the response leaves before the prompt is in the log.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from understudy.serving.callers import Callers
from understudy.serving.expiry import Expiry
from understudy.serving.guard import attended
from understudy.serving.journal import Journal, Policy
from understudy.serving.openapi import CONSENT
from understudy.serving.shared import Board
from understudy.serving.wire import (
    ApiError,
    ChatRequest,
    CompletionRequest,
    Feedback,
    Json,
    error_body,
)
from understudy.store import Store
from understudy.store.accounts.keys import Caller
from understudy.store.prompts.log import Event
from understudy.store.rows import now
from understudy.web.bugs import report

Asked = ChatRequest | CompletionRequest


class Backend(Protocol):
    """What generates responses: a model in this process or another server."""

    name: str

    async def answer(self, request: Asked, request_id: str) -> Json:
        """The whole response."""

    def stream(self, request: Asked, request_id: str) -> AsyncIterator[Json]:
        """The response in chunks, the last with the usage."""

    def state(self) -> Json:
        """For the health page."""

    async def close(self) -> None:
        """Release its resources."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The application's settings."""

    log: Path
    """The log's file."""
    on_log_failure: Policy = "refuse"
    """refuse or serve."""
    log_sync: bool = False
    """Flush the log to the disk with every batch."""
    retention_days: int | None = None
    """How long the log keeps rows; None for forever."""
    requests_per_minute: int = 60
    """Requests per minute for keys without their own limit."""
    tokens_per_day: int = 1_000_000
    """Tokens per day for keys without their own quota."""
    max_body_bytes: int = 1 << 20
    """Largest request body, in bytes."""
    timeout_s: float = 120
    """Longest time to a whole response."""
    stall_s: float = 20
    """Longest time that a client may take to send or read the next piece."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call from a browser; "*" allows all."""


class Gateway:
    """The parts that the routes share, made when the application starts."""

    def __init__(self, settings: Settings, store: Store, backend: Backend, board: Board) -> None:
        self.settings, self.backend, self.board = settings, backend, board
        self.journal = Journal(
            settings.log, policy=settings.on_log_failure, sync=settings.log_sync, board=board
        )
        self.callers = Callers(
            store,
            requests_per_minute=settings.requests_per_minute,
            tokens_per_day=settings.tokens_per_day,
            board=board,
        )
        days = settings.retention_days
        self.expiry = None if days is None else Expiry(settings.log, days, board=board)

    async def reply(self, request: Request, asked: Asked, caller: Caller) -> Response:
        """Answer a request, recorded if the user agreed and did not withhold it."""
        self.check_model(asked.model, "model")
        limits = await self.callers.admit(caller)
        kind = "chatcmpl" if isinstance(asked, ChatRequest) else "cmpl"
        # Begins with the time, so that the log's index grows only at its end
        request_id = f"{kind}-{time.time_ns() // 1000:014x}{os.urandom(9).hex()}"
        recorded = caller.consent and not _withheld(request) and asked.store is not False
        written = self._record(asked, caller, request_id) if recorded else None
        headers = {
            "X-Understudy-Recorded": "yes" if recorded else "no",
            "X-Request-Id": request_id,
            **limits,
        }
        if asked.stream:
            chunks = self._chunks(asked, caller, request_id, written)
            receive = request.receive
            # An error before the first chunk can still be a plain HTTP error.
            first = await attended(anext(chunks, None), receive=receive)
            if first is None:
                raise ApiError(502, "the model's server sent nothing", kind="server_error")
            headers["X-Accel-Buffering"] = "no"  # nginx would hold events back
            return _Streamed(_lines(first, chunks), media_type="text/event-stream", headers=headers)
        said = Said()
        counts: Json | None = None
        loop = asyncio.get_running_loop()
        try:
            until = loop.time() + self.settings.timeout_s
            work = self._whole(asked, request_id, written)
            body = await attended(work, until=until, receive=request.receive)
            said.take(body["choices"])
            counts = body.get("usage")
        except TimeoutError:
            raise _too_slow() from None
        finally:
            self._count(caller, said, counts)
            if recorded:  # in the loop's next turn, once the response is sent
                loop.call_soon(self._note, asked, caller, request_id, said)
        return Response(to_json(body), media_type="application/json", headers=headers)

    def check_model(self, name: str, param: str) -> None:
        """ApiError unless the name is the served model's."""
        if name != self.backend.name:
            raise ApiError(
                404,
                f"there is no model {name[:80]!r}; the gateway serves {self.backend.name!r}",
                code="model_not_found",
                param=param,
            )

    def describe_model(self) -> Json:
        """The model in OpenAI's format."""
        return {
            "id": self.backend.name,
            "object": "model",
            "created": self.board.started,
            "owned_by": "understudy",
        }

    async def _whole(
        self, asked: Asked, request_id: str, written: "asyncio.Future[bool] | None"
    ) -> Json:
        body = await self.backend.answer(asked, request_id)
        if written is not None:
            await written
        return body

    async def _chunks(
        self,
        asked: Asked,
        caller: Caller,
        request_id: str,
        written: "asyncio.Future[bool] | None",
    ) -> AsyncIterator[Json]:
        """The chunks, once the prompt is in the log. However the stream ends, records the response
        so far."""
        wants_usage = asked.stream_options is not None and asked.stream_options.include_usage
        said = Said()
        counts: Json | None = None
        source = self.backend.stream(asked, request_id)
        deadline = asyncio.get_running_loop().time() + self.settings.timeout_s
        recorded = written is not None
        try:
            while True:
                try:  # around the waits only: `yield` returns when the chunk has been sent
                    chunk = await attended(anext(source, None), until=deadline)
                    if written is not None:
                        await attended(written, until=deadline)
                        written = None
                except TimeoutError:
                    raise _too_slow() from None
                if chunk is None:
                    break
                said.take(chunk["choices"])
                counts = chunk.get("usage") or counts
                if wants_usage:
                    yield {"usage": None, **chunk}
                elif chunk["choices"]:
                    yield chunk
        finally:
            with suppress(Exception):
                await source.aclose()  # type: ignore[attr-defined]
            self._count(caller, said, counts)
            if recorded:
                self._note(asked, caller, request_id, said)

    def _record(self, asked: Asked, caller: Caller, request_id: str) -> "asyncio.Future[bool]":
        if isinstance(asked, ChatRequest):
            turns = [message.plain() for message in asked.messages]
            prompts: list[Any] = [[{"role": role, "content": text} for role, text in turns]]
        else:
            prompts = list(asked.prompts)
        body = {
            "prompts": prompts,
            "organization_id": caller.organization_id,
            "kind": "chat" if isinstance(asked, ChatRequest) else "completion",
        }
        return self.journal.put(Event("prompt", request_id, caller.user_id, now(), body))

    def _count(self, caller: Caller, said: "Said", counts: Json | None) -> None:
        """Count the tokens used, estimated if the backend does not report them."""
        tokens = (counts or {}).get("total_tokens") or sum(map(len, said.texts.values())) // 4 + 1
        self.callers.count(caller, tokens)

    def _note(self, asked: Asked, caller: Caller, request_id: str, said: "Said") -> None:
        """Record the response."""
        if not said.texts:
            return
        places = range(max(said.texts) + 1)
        body = {
            "responses": [said.texts.get(index) for index in places],
            "finished": [said.reasons.get(index) == "stop" for index in places],
            "n": asked.n or 1,
            "model": self.backend.name,
            "temperature": 1.0 if asked.temperature is None else asked.temperature,
            "seed": asked.seed,
        }
        self.journal.note(Event("answer", request_id, caller.user_id, now(), body))

    async def take_feedback(self, given: Feedback, caller: Caller) -> Json:
        """Record feedback on one of the caller's own recorded responses."""
        owner = await asyncio.to_thread(self.journal.owner, given.id)
        if owner != caller.user_id:  # does not reveal that another user's response exists
            raise ApiError(404, f"you have no recorded response {given.id!r}", param="id")
        kind, value = given.value()
        body = {"kind": kind, "value": value, "index": given.index}
        event = Event("feedback", given.id, caller.user_id, now(), body)
        await self.journal.put(event)
        return {"object": "feedback", "id": given.id, kind: value}

    def health(self) -> Json:
        """The health report, with the policy for a failing log."""
        log, accounts, model = self.journal.state(), self.callers.state(), self.backend.state()
        kept: Json = {"days": None} if self.expiry is None else self.expiry.state()
        parts = (log["state"], accounts["state"], model["state"])
        well = all(state == "ok" for state in parts) and not kept.get("error")
        return {
            "status": "ok" if well else "degraded",
            "log": {**log, "retention": kept},
            "accounts": accounts,
            "backend": model,
        }


class Said:
    """The texts of a request's responses as they come, by index, and why each ended."""

    def __init__(self) -> None:
        self.texts: dict[int, str] = {}
        self.reasons: dict[int, str] = {}

    def take(self, choices: list[Json]) -> None:
        """Add what a whole response or a chunk says."""
        for choice in choices:
            index = choice["index"]
            self.texts[index] = self.texts.get(index, "") + _text_of(choice)
            if choice["finish_reason"]:
                self.reasons[index] = choice["finish_reason"]


def _withheld(request: Request) -> bool:
    """Whether any value of the header withholds consent, as anything but yes does."""
    headers = request.scope["headers"]
    given = [value for name, value in headers if name.replace(b"_", b"-") == _CONSENT]
    return any(value.strip().lower() != b"yes" for value in given)


_CONSENT = CONSENT.lower().encode()


class _Streamed(StreamingResponse):
    """Ends once the client has left; closes the generator then rather than at garbage
    collection."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await attended(self.stream_response(send), receive=receive)
        finally:
            await self.body_iterator.aclose()  # type: ignore[attr-defined]


def _event(said: Json) -> bytes:
    return b"data: %b\n\n" % to_json(said)


async def _lines(first: Json, rest: AsyncIterator[Json]) -> AsyncIterator[bytes]:
    """Server-sent events; an error mid-stream becomes an event, since the status is already
    sent."""
    try:
        yield _event(first)
        async for chunk in rest:
            yield _event(chunk)
        yield b"data: [DONE]\n\n"
    except ApiError as error:
        yield _event(error.body)
    except Exception as error:
        report(error)
        yield _event(error_body("internal error", "server_error"))
    finally:
        await rest.aclose()  # type: ignore[attr-defined]


def _text_of(choice: Json) -> str:
    said = choice.get("message") or choice.get("delta") or choice
    return str(said.get("content") or said.get("text") or "")


def _too_slow() -> ApiError:
    return ApiError(504, "the response took too long", kind="server_error", code="timeout")
