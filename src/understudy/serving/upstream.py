"""Responses from another OpenAI-compatible server, whose address only the config sets.

The client follows no redirects and ignores the environment's proxies, and nothing in a request
affects the address: a request cannot make the gateway contact any other server. Replies are not
trusted either (`said.py`).
"""

import asyncio
from codecs import BOM_UTF8
from collections.abc import AsyncIterator
from contextlib import suppress
from urllib.parse import urlsplit

from aiohttp import StreamReader
from pydantic_core import to_json

from understudy.records.convert import complaint_in
from understudy.serving.addresses import Resolve, ask_system, checked_addresses
from understudy.serving.client import Client, Unreachable, retry_after
from understudy.serving.said import BadResponse, Halves, Part, choices_of, parse, usage_of
from understudy.serving.shared import Board
from understudy.serving.wire import (
    ApiError,
    ChatRequest,
    CompletionRequest,
    Json,
    envelope,
    printable,
)

PASSED_ON = {400, 413, 422, 429}
"""Upstream errors that are the client's fault; any other is the gateway's."""
NOT_THERE = "status 404: no such path or model; check upstream and upstream_model"
MAX_LINE = 1 << 22
"""Longest line of a streamed response, in bytes."""
END_S = 1.0
"""How long to wait for the end of a stream after its last event, so that its connection can be
reused."""


class Upstream:
    """An OpenAI-compatible server at a fixed address."""

    def __init__(
        self,
        url: str,
        *,
        name: str,
        model: str | None = None,
        key: str | None = None,
        private: bool = False,
        max_response_tokens: int = 1024,
        resolve: Resolve = ask_system,
        board: Board | None = None,
    ) -> None:
        self.name, self.model = name, model or name
        self.max_response = max_response_tokens
        self.outcome = (board or Board()).outcomes["backend"]
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.client = Client(check_url(url), headers=headers, private=private, resolve=resolve)

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()

    def state(self) -> Json:
        """For the health page: whether the last response failed. Omits the upstream's address."""
        return {
            "kind": "upstream",
            "state": self.outcome.state,
            "error": self.outcome.error,
        }

    async def answer(self, request: ChatRequest | CompletionRequest, request_id: str) -> Json:
        """The upstream's response under our id and model name."""
        chat = isinstance(request, ChatRequest)
        try:
            reply = await self.client.post(self._path(request), self._body(request))
            if reply.status != 200:
                raise self._refused(reply.status, reply.body, reply.retry_after)
            said = parse(reply.body)
            choices = choices_of(said, "message" if chat else "text", _number(request))
            if not choices:
                raise BadResponse("no choices")
        except (Unreachable, ValueError) as error:
            raise self._failed(error) from None
        self.outcome.succeeded()
        kind = "chat.completion" if chat else "text_completion"
        counts = usage_of(said)
        whole = envelope(kind, request_id, self.name, choices)
        return {**whole, "usage": counts} if counts else whole

    async def stream(
        self, request: ChatRequest | CompletionRequest, request_id: str
    ) -> AsyncIterator[Json]:
        """The upstream's chunks under our id and model name."""
        chat = isinstance(request, ChatRequest)
        part: Part = "delta" if chat else "text"
        halves = Halves()
        kind = "chat.completion.chunk" if chat else "text_completion"
        head = envelope(kind, request_id, self.name, [])
        done = False
        begun: set[int] = set()
        complete: set[int] = set()
        counts: Json | None = None
        more: Json = {"stream": True, "stream_options": {"include_usage": True}}
        path, body = self._path(request), self._body(request, more)
        try:
            async with self.client.asking(path, body) as response:
                if response.status != 200:
                    problem = await response.content.readany()
                    raise self._refused(response.status, problem, retry_after(response))
                async for line in _lines(response.content):
                    data = _data_of(line)
                    if not data:
                        continue
                    if data == b"[DONE]":
                        done = True
                        break
                    said = parse(data)
                    choices = choices_of(said, part, _number(request), halves)
                    counts = usage_of(said) or counts
                    begun |= {choice["index"] for choice in choices}
                    complete |= {c["index"] for c in choices if c["finish_reason"]}
                    if choices:
                        yield {**head, "choices": choices}
                if not begun or (begun - complete and not done):
                    raise BadResponse("a stream that ends early" if begun else "no choices")
                for index in sorted(begun - complete):  # some clients take no stream without one
                    yield {**head, "choices": [_end(part, index, halves)]}
                if counts:  # once, at the end: some servers repeat it with every chunk
                    yield {**head, "choices": [], "usage": counts}
                await _drain(response.content)
        except (Unreachable, ValueError) as error:
            raise self._failed(error) from None
        self.outcome.succeeded()

    def _refused(self, status: int, content: bytes, retry_after: str) -> ApiError:
        """The error that a client gets when the upstream refuses."""
        headers = None
        if retry_after.isascii() and retry_after.isprintable() and 0 < len(retry_after) < 40:
            headers = {"Retry-After": retry_after}
        if status in PASSED_ON:
            message = ""
            with suppress(BadResponse):
                message = complaint_in(parse(content))[:500]
            message = message or "the model's server refused the request"
            kind = "rate_limit_error" if status == 429 else "invalid_request_error"
            code = "upstream_refused"
            return ApiError(status, printable(message), kind=kind, code=code, headers=headers)
        self.outcome.failed(NOT_THERE if status == 404 else f"status {status}")
        message = "the model's server failed"
        kind, code = "server_error", "upstream_failed"
        return ApiError(502, message, kind=kind, code=code, headers=headers)

    def _failed(self, error: Exception) -> ApiError:
        """The error that a client gets for an unintelligible upstream; quotes nothing that it
        sent."""
        ours = isinstance(error, (BadResponse, Unreachable))
        self.outcome.failed(str(error) if ours else type(error).__name__)
        what = "sent no valid response" if isinstance(error, BadResponse) else "cannot be reached"
        message = f"the model's server {what}"
        return ApiError(502, message, kind="server_error", code="upstream_failed")

    def _path(self, request: ChatRequest | CompletionRequest) -> str:
        return "/chat/completions" if isinstance(request, ChatRequest) else "/completions"

    def _body(self, request: ChatRequest | CompletionRequest, more: Json | None = None) -> bytes:
        body = request.sent()
        body["model"] = self.model
        name = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
        body[name] = min(body.get(name, self.max_response), self.max_response)
        return to_json({**body, **(more or {})})


def _number(request: ChatRequest | CompletionRequest) -> int:
    """The number of requested responses."""
    prompts = 1 if isinstance(request, ChatRequest) else len(request.prompts)
    return prompts * (request.n or 1)


def _data_of(line: bytes) -> bytes:
    """What a line of a stream says; nothing for a comment or a field that is not used."""
    name, _, data = line.removeprefix(BOM_UTF8).partition(b":")
    data = data.strip()
    if (name, data) == (b"event", b"error"):
        raise BadResponse("an error instead of a response")
    return data if name == b"data" else b""


def _end(part: Part, index: int, halves: Halves) -> Json:
    """The last choice of a response whose server gave no reason to end."""
    text = halves.join(index, "", last=True)
    piece: Json = {"text": text} if part == "text" else {part: {"content": text} if text else {}}
    return {"index": index, **piece, "logprobs": None, "finish_reason": "stop"}


async def _drain(content: StreamReader) -> None:
    """Read the rest, if it arrives quickly."""
    with suppress(TimeoutError):
        async with asyncio.timeout(END_S):
            while await content.readany():
                pass


async def _lines(content: StreamReader) -> AsyncIterator[bytes]:
    """The lines of a response as they come."""
    rest = b""
    while piece := await content.readany():
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > MAX_LINE:
            raise BadResponse(f"a line of the response is longer than {MAX_LINE} bytes")
        for line in lines:
            yield line
    yield rest


async def check_upstream(url: str, *, private: bool, resolve: Resolve = ask_system) -> None:
    """ValueError that says what to do if the URL's present address is not allowed."""
    parts = urlsplit(check_url(url))
    port = parts.port or (443 if parts.scheme == "https" else 80)
    await checked_addresses(str(parts.hostname), port, private=private, resolve=resolve)


def check_url(url: str, name: str = "upstream", key: str = "UNDERSTUDY_UPSTREAM_KEY") -> str:
    """The URL without a slash at the end; ValueError for anything but http(s)://HOST/PATH, naming
    the setting and the variable of its key."""
    try:
        parts = urlsplit(url)
        plain = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # no port, or half an IPv6 address
        plain = None
    visible = url.isascii() and url.isprintable() and " " not in url
    if (
        not plain
        or not visible
        or parts.username
        or parts.password
        or parts.query
        or parts.fragment
    ):
        raise ValueError(
            f"{name} is {url!r}; it must be like http://127.0.0.1:8001/v1, without a user, a query "
            f"or a fragment (a key goes in the variable {key})"
        )
    return url.rstrip("/")
