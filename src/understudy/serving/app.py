"""The gateway's routes.

A request is authenticated and checked against limits; the prompt is logged (with consent) while the
model answers, and no part of the response leaves before the prompt is in the log.
"""

import asyncio
import os
import time
from codecs import BOM_UTF8
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from understudy.serving.callers import Callers
from understudy.serving.expiry import Expiry
from understudy.serving.guard import ClientGone, Guard, attended
from understudy.serving.journal import Journal, LogUnavailable, Policy
from understudy.serving.openapi import CONSENT, description
from understudy.serving.shared import Board
from understudy.serving.wire import (
    ApiError,
    ChatRequest,
    CompletionRequest,
    Feedback,
    Json,
    error_body,
    invalid,
    printable,
)
from understudy.store import Store
from understudy.store.accounts.keys import Caller
from understudy.store.prompts.log import Event
from understudy.store.rows import now
from understudy.web.bodies import check_body
from understudy.web.bugs import report

Asked = ChatRequest | CompletionRequest
Body = TypeVar("Body", bound=BaseModel)


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
        try:
            until = asyncio.get_running_loop().time() + self.settings.timeout_s
            work = self._whole(asked, request_id, written)
            body = await attended(work, until=until, receive=request.receive)
            said.take(body["choices"])
            counts = body.get("usage")
        except TimeoutError:
            raise _too_slow() from None
        finally:
            self._finish(asked, caller, request_id, recorded, said, counts)
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
            self._finish(asked, caller, request_id, recorded, said, counts)

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

    def _finish(
        self,
        asked: Asked,
        caller: Caller,
        request_id: str,
        recorded: bool,
        said: "Said",
        counts: Json | None,
    ) -> None:
        """Count the tokens used, estimated if the backend does not report them, and record the
        response."""
        tokens = (counts or {}).get("total_tokens") or sum(map(len, said.texts.values())) // 4 + 1
        self.callers.count(caller, tokens)
        if not recorded or not said.texts:
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


def build_app(
    settings: Settings, store: Store, backend: Backend, board: Board | None = None
) -> Starlette:
    """The ASGI application; it closes the backend on shutdown. Workers give the board they
    share."""
    board = board or Board()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        gateway = app.state.gateway = Gateway(settings, store, backend, board)
        tasks = [asyncio.create_task(gateway.callers.keep_flushing())]
        if gateway.expiry is not None and board.index == 0:
            tasks.append(asyncio.create_task(gateway.expiry.keep()))
        yield
        for task in tasks:
            task.cancel()
        await backend.close()
        await gateway.callers.flush()
        await gateway.journal.close()

    limits = {name: getattr(settings, name) for name in ("max_body_bytes", "stall_s", "timeout_s")}
    around = [Middleware(Guard, **limits), Middleware(Shortcut)]
    if settings.cors_origins:
        around.insert(
            0,
            Middleware(
                CORSMiddleware,
                allow_origins=settings.cors_origins,
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
                expose_headers=["*"],
            ),
        )
    app = Starlette(
        routes=ROUTES, middleware=around, exception_handlers=HANDLERS, lifespan=lifespan
    )
    # A redirect would name the scheme and host that this server sees, not those of its proxy.
    app.router.redirect_slashes = False
    return app


async def _answer(request: Request, kind: type[Asked]) -> Response:
    gateway: Gateway = request.app.state.gateway
    caller = await gateway.callers.identify(_key(request), _address(request))
    asked = await _read(request, kind)
    return await gateway.reply(request, asked, caller)


async def _models(request: Request) -> Response:
    gateway: Gateway = request.app.state.gateway
    await gateway.callers.identify(_key(request), _address(request))
    return JSONResponse({"object": "list", "data": [gateway.describe_model()]})


async def _model(request: Request) -> Response:
    gateway: Gateway = request.app.state.gateway
    await gateway.callers.identify(_key(request), _address(request))
    gateway.check_model(request.path_params["name"], "model")
    return JSONResponse(gateway.describe_model())


async def _feedback(request: Request) -> Response:
    gateway: Gateway = request.app.state.gateway
    caller = await gateway.callers.identify(_key(request), _address(request))
    return JSONResponse(await gateway.take_feedback(await _read(request, Feedback), caller))


async def _health(request: Request) -> Response:
    return JSONResponse(request.app.state.gateway.health())


async def _openapi(request: Request) -> Response:
    return JSONResponse(description())


class Shortcut:
    """Serves the two generating routes without Starlette's routing and error handling, which would
    make more calls than the rest of the request."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer, or pass the request on."""
        kind = GENERATING.get(scope["path"]) if scope["type"] == "http" else None
        if kind is None or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive, send)
        try:
            response = await _answer(request, kind)
        except (ApiError, LogUnavailable) as error:
            response = await HANDLERS[type(error)](request, error)
        await response(scope, receive, send)


GENERATING: dict[str, type[Asked]] = {
    "/v1/chat/completions": ChatRequest,
    "/v1/completions": CompletionRequest,
}
ROUTES = [
    *(
        Route(path, partial(_answer, kind=kind), methods=["POST"])
        for path, kind in GENERATING.items()
    ),
    Route("/v1/models", _models),
    Route("/v1/models/{name:path}", _model),
    Route("/v1/feedback", _feedback, methods=["POST"]),
    Route("/health", _health),
    Route("/openapi.json", _openapi),
]
"""Plain Starlette routes: FastAPI's overhead would exceed the work of the route itself. A POST
to the first two takes the shortcut."""
PATHS = [
    f"{min(route.methods - {'HEAD'})} {route.path.replace('{name:path}', 'NAME')}"
    for route in ROUTES
    if route.methods
]


def _key(request: Request) -> str | None:
    scheme, _, given = _header(request, b"authorization").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else None


def _address(request: Request) -> str:
    client = request.scope.get("client")
    return str(client[0]) if client else ""


def _withheld(request: Request) -> bool:
    """Whether any value of the header withholds consent, as anything but yes does."""
    headers = request.scope["headers"]
    given = [value for name, value in headers if name.replace(b"_", b"-") == _CONSENT]
    return any(value.strip().lower() != b"yes" for value in given)


_CONSENT = CONSENT.lower().encode()


def _header(request: Request, name: bytes) -> str:
    """The first value of a header; "" if there is none."""
    for given, value in request.scope["headers"]:
        if given == name:
            return str(value, "latin-1")
    return ""


async def _read(request: Request, kind: type[Body]) -> Body:
    """The request's body; ApiError says what is wrong."""
    given = _header(request, b"content-type").partition(";")[0].strip().lower()
    if given != "application/json":
        raise ApiError(415, "send JSON, with Content-Type: application/json")
    if packing := _header(request, b"content-encoding").strip():
        raise ApiError(415, f"send the body as it is, without Content-Encoding: {packing[:40]}")
    raw = (await _body(request)).removeprefix(BOM_UTF8)
    try:
        raw.decode()
    except UnicodeDecodeError:
        raise ApiError(400, "send JSON in UTF-8; the body is not UTF-8") from None
    try:
        check_body(raw, nul=True)
        return kind.model_validate_json(raw)
    except ValidationError as error:
        raise invalid(error) from None
    except (ValueError, RecursionError) as error:
        raise ApiError(400, str(error)) from None


async def _body(request: Request) -> bytes:
    pieces, more = [], True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("the client has disconnected")
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(pieces)


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body, status_code=error.status_code, headers=error.headers)


async def _log_unavailable(request: Request, error: Exception) -> Response:
    body = error_body(
        "the prompt cannot be recorded now; try again, or withhold consent for it",
        "server_error",
        "log_unavailable",
    )
    return JSONResponse(body, status_code=503, headers={"Retry-After": "1"})


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = str(error.detail)
    if error.status_code in (404, 405):
        asked = printable(f"{request.method} {request.url.path}"[:80])
        message = f"there is no {asked}; the gateway has {', '.join(PATHS)}"
    body = error_body(message, "invalid_request_error")
    return JSONResponse(body, status_code=error.status_code, headers=error.headers)


async def _failure(request: Request, error: Exception) -> Response:
    report(error)
    return JSONResponse(error_body("internal error", "server_error"), status_code=500)


HANDLERS: dict[Any, Any] = {
    ApiError: _api_error,
    LogUnavailable: _log_unavailable,
    HTTPException: _http_error,
    Exception: _failure,
}


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
