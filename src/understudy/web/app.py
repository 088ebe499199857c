"""Turns a table of routes into an ASGI application with sign-in, access, CSRF and limits.

Converts what a route's function returns or raises into a response: an `ApiError` has its own
status, an unavailable store gives 503 (nothing was saved, the browser retries), a bug gives 500
without details. Pages get the same few variables each; all other data comes as JSON.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Route as StarletteRoute

from understudy.web.access import (
    Account,
    ApiError,
    Call,
    Content,
    Download,
    Page,
    Redirect,
    Reply,
    Route,
    SignedIn,
    SignedOut,
    WithToken,
    refusal,
)
from understudy.web.apart import Apart, internal, unavailable
from understudy.web.bodies import check_body
from understudy.web.bugs import report
from understudy.web.headers import SecureHeaders, host_name
from understudy.web.sessions import Cookie, Lifetimes, csrf_ok, csrf_token, is_token, new_token
from understudy.web.static import Static

CSRF_HEADER = "x-csrf-token"
THREADS = 4
"""Requests that change something, and others, handled at the same time; more of either would only
slow each other down."""


class Door(Protocol):
    """Looks up the account behind a cookie."""

    def account_of(self, token: str) -> Account | None:
        """The account signed in with the cookie, if its session is valid."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WebSettings:
    """How an application is deployed."""

    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")
    """Host names that it serves."""
    tls: bool = False
    """Whether browsers use https."""
    lifetimes: Lifetimes = field(default_factory=Lifetimes)
    """Lifetimes of a sign-in."""
    stall_s: float = 20.0
    """Timeout for receiving a body."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """What surrounds every route."""

    parts: Any
    """The application's own state, `Call.app`."""
    door: Door
    settings: WebSettings
    pages: Environment
    readers: ThreadPoolExecutor
    """For routes that change nothing: no page waits for writers, which wait for each other."""
    writers: ThreadPoolExecutor
    apart: Apart | None
    """The process that answers slow routes; None to answer them here."""

    @property
    def cookie(self) -> Cookie:
        """The session cookie."""
        return Cookie(secure=self.settings.tls)


def build_app(
    routes: Sequence[Route],
    *,
    parts: Any,
    door: Door,
    settings: WebSettings,
    templates: Path,
    static: Path,
    apart: Sequence[str] | None = None,
) -> Starlette:
    """An application with exactly these routes.

    `apart` is the command of a process that calls `answer_calls` with the same routes; it answers
    the slow ones.
    """
    _check_unique(routes)
    frame = Frame(
        parts=parts,
        door=door,
        settings=settings,
        pages=_pages(templates),
        readers=ThreadPoolExecutor(THREADS, thread_name_prefix="reader"),
        writers=ThreadPoolExecutor(THREADS, thread_name_prefix="writer"),
        apart=None if apart is None else Apart(apart),
    )
    app = Starlette(
        routes=[*(_starlette_route(route, frame) for route in routes), Static(static).route],
        middleware=[Middleware(SecureHeaders, hosts=settings.hosts, tls=settings.tls)],
        exception_handlers={HTTPException: partial(_no_route, frame)},
        lifespan=partial(_lifespan, frame),
    )
    app.router.redirect_slashes = False
    app.state.routes, app.state.frame = tuple(routes), frame
    return app


@asynccontextmanager
async def _lifespan(frame: Frame, app: Starlette) -> AsyncIterator[None]:
    yield
    if frame.apart is not None:
        frame.apart.close()


def _check_unique(routes: Sequence[Route]) -> None:
    seen = set()
    for route in routes:
        if (route.method, route.path) in seen:
            raise ValueError(f"{route.method} {route.path} is defined twice")
        seen.add((route.method, route.path))


def _pages(templates: Path) -> Environment:
    pages = Environment(
        loader=FileSystemLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.globals["version"] = version("understudy")
    return pages


def _starlette_route(route: Route, frame: Frame) -> StarletteRoute:
    async def endpoint(request: Request) -> Response:
        token = _token_of(request, frame)
        try:
            raw = await _read(request, route, frame) if route.changes_state else b""
            loop = asyncio.get_running_loop()
            threads = frame.writers if route.changes_state else frame.readers
            reply, account = await loop.run_in_executor(
                threads, _answer, route, frame, request, token, raw
            )
            accept = request.headers.get("accept", "")
            wants_part = bool(route.part) and "text/html" in accept
            if isinstance(reply, Call):
                assert frame.apart is not None
                patient = "application/json" not in accept
                response = await frame.apart.answer(route, reply, patient=patient)
                if response.status_code != 200 or not wants_part:
                    return response
                reply = json.loads(bytes(response.body))
            if wants_part:
                return await loop.run_in_executor(frame.readers, _part, frame, route, reply)
            return _response(frame, reply, account, token)
        except ApiError as error:
            return _refused(frame, error, request, is_api=route.is_api)
        except OSError as error:
            return _refused(frame, unavailable(error), request, is_api=route.is_api)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:
            report(error)
            return _refused(frame, internal(), request, is_api=route.is_api)

    return StarletteRoute(route.path, endpoint, methods=[route.method])


def _answer(
    route: Route, frame: Frame, request: Request, token: str, raw: bytes
) -> tuple[Reply | Call, Account | None]:
    """(the route's reply or the call for the separate process, the account). Runs in a thread."""
    if route.changes_state:
        _check_origin(request)
        if not csrf_ok(token, request.headers.get(CSRF_HEADER)):
            raise ApiError(403, "csrf", "This page has expired; reload it.")
    account = frame.door.account_of(token)
    refused = refusal(route.access, account)
    if refused is not None:
        raise refused
    call = Call(
        app=frame.parts,
        account=account,
        path=request.path_params,
        query=request.query_params,
        body=_parse(route, raw) if route.changes_state else None,
        token=token,
        address=request.client.host if request.client else "",
    )
    if route.apart and frame.apart is not None:
        return call, account
    return route.handler(call), account


def _token_of(request: Request, frame: Frame) -> str:
    """The cookie's value, or a new one for a browser without one."""
    given = request.cookies.get(frame.cookie.name, "")
    if is_token(given):
        return given
    return new_token()


async def _read(request: Request, route: Route, frame: Frame) -> bytes:
    """The body, cut off with an error if it exceeds the route's limit."""
    declared = request.headers.get("content-length", "0")
    too_large = ApiError(
        413, "too_large", f"This is too large: the limit is {route.max_bytes:,} bytes."
    )
    if not declared.isdigit() or int(declared) > route.max_bytes:
        raise too_large
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "invalid", "The body must be application/json.")
    parts, size = [], 0
    try:
        async with asyncio.timeout(frame.settings.stall_s):
            async for part in request.stream():
                size += len(part)
                if size > route.max_bytes:
                    raise too_large
                parts.append(part)
    except TimeoutError:
        raise ApiError(408, "too_slow", "The request did not arrive in time.") from None
    return b"".join(parts)


def _parse(route: Route, raw: bytes) -> Any:
    try:
        body = route.body.model_validate_json(raw or b"{}")
        check_body(raw)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        message = f"{where}: {first['msg']}" if where else str(first["msg"])
        message = message.encode("utf-8", "replace").decode()
        raise ApiError(400, "invalid", message[:500]) from None
    except RecursionError:
        raise ApiError(400, "invalid", "The body is nested too deeply.") from None
    except ValueError as error:
        raise ApiError(400, "invalid", str(error)) from None
    return body


def _check_origin(request: Request) -> None:
    """Refuse requests that the browser says come from another site, even with a valid token."""
    origin = request.headers.get("origin")
    if origin is not None:
        host = origin.partition("://")[2]
        same = host.lower() == request.headers.get("host", "").lower()
        if not same:
            raise ApiError(403, "csrf", f"Requests from {host_name(host) or origin} are refused.")
    if request.headers.get("sec-fetch-site") == "cross-site":
        raise ApiError(403, "csrf", "Requests from other sites are refused.")


def _response(frame: Frame, reply: Reply, account: Account | None, token: str) -> Response:
    if isinstance(reply, Page):
        return _page(frame, reply.template, reply.status, account, token)
    if isinstance(reply, Redirect):
        return RedirectResponse(reply.to, status_code=303)
    if isinstance(reply, Download):
        return FileResponse(reply.path, media_type="application/octet-stream", filename=reply.name)
    if isinstance(reply, Content):
        return Response(reply.data, media_type=reply.media_type)
    if isinstance(reply, SignedIn):
        body = {**reply.body, "csrf_token": csrf_token(reply.token)}
        return _with_cookie(JSONResponse(body), frame, reply.token)
    if isinstance(reply, SignedOut):
        fresh = new_token()
        body = {**reply.body, "csrf_token": csrf_token(fresh)}
        return _with_cookie(JSONResponse(body), frame, fresh)
    if isinstance(reply, WithToken):
        body = {**reply.body, "csrf_token": csrf_token(token)}
        return _with_cookie(JSONResponse(body), frame, token)
    return JSONResponse(reply)


def _part(frame: Frame, route: Route, reply: Any) -> Response:
    return HTMLResponse(frame.pages.get_template(route.part).render(reply))


def _page(
    frame: Frame, template: str, status: int, account: Account | None, token: str, **more: Any
) -> Response:
    html = frame.pages.get_template(template).render(
        page=template.removesuffix(".html"),
        csrf_token=csrf_token(token),
        account=account,
        **more,
    )
    response = HTMLResponse(html, status_code=status)
    return _with_cookie(response, frame, token)


def _with_cookie(response: Response, frame: Frame, token: str) -> Response:
    header = frame.cookie.set(token, frame.settings.lifetimes.absolute)
    response.headers.append("set-cookie", header)
    return response


def _refused(frame: Frame, error: ApiError, request: Request, *, is_api: bool) -> Response:
    """JSON for programs; for people a redirect to the page that they need, or an error page."""
    if is_api:
        return JSONResponse(error.body, status_code=error.status, headers=error.headers)
    if error.status == 401:
        return RedirectResponse(f"/sign-in?then={request.url.path}", status_code=303)
    if error.code == "gate":
        return RedirectResponse(error.more["go"], status_code=303)
    html = frame.pages.get_template("error.html").render(
        page="error", csrf_token="", account=None, message=error.message, status=error.status
    )
    return HTMLResponse(html, status_code=error.status, headers=error.headers)


async def _no_route(frame: Frame, request: Request, error: Exception) -> Response:
    """The reply for unknown routes: the default is deny."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    messages = {404: "There is no such page.", 405: "This method is not allowed here."}
    codes = {404: "not_found", 405: "not_allowed"}
    failure = ApiError(
        status,
        codes.get(status, "internal"),
        messages.get(status, "Something went wrong on the server."),
        headers=getattr(error, "headers", None),
    )
    return _refused(frame, failure, request, is_api=request.url.path.startswith("/api/"))
