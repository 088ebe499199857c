"""The gateway's application: its routes, and errors in OpenAI's form."""

import asyncio
from codecs import BOM_UTF8
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from understudy.serving.gateway import Asked, Backend, Gateway, Settings
from understudy.serving.guard import ClientGone, Guard
from understudy.serving.journal import LogUnavailable
from understudy.serving.openapi import description
from understudy.serving.shared import Board
from understudy.serving.wire import (
    ApiError,
    ChatRequest,
    CompletionRequest,
    Feedback,
    error_body,
    invalid,
    printable,
)
from understudy.store import Store
from understudy.web.bodies import check_body
from understudy.web.bugs import report

Body = TypeVar("Body", bound=BaseModel)


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
