"""Answers from another OpenAI-compatible server, whose address only the config can set.

Redirects are not followed, the environment's proxies are not used, and nothing in a request reaches
the address: a request cannot make the gateway talk to anybody else.
"""

import json
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from understudy.serving.addresses import Resolve, ask_system, checked_addresses
from understudy.serving.http1 import Client, Connection, Unreachable
from understudy.serving.wire import ApiError, ChatRequest, CompletionRequest, Json

OWN_FIELDS = {"store", "metadata", "user"}
"""Fields of a request that are for the gateway and go no further."""
PASSED_ON = {400, 404, 413, 422, 429}
"""What an upstream may blame on the client; anything else is the gateway's trouble."""
MAX_LINE = 1 << 22
"""Longest line of a streamed answer, in bytes."""


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
    ) -> None:
        self.name, self.model = name, model or name
        self.max_response = max_response_tokens
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.client = Client(check_url(url), headers=headers, private=private, resolve=resolve)

    async def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def state(self) -> Json:
        """For the health page; the address is nobody's business."""
        return {"kind": "upstream"}

    async def answer(self, request: ChatRequest | CompletionRequest, request_id: str) -> Json:
        """The upstream's answer under our id and model name."""
        try:
            reply = await self.client.post(self._path(request), self._body(request))
        except (Unreachable, ValueError) as error:
            raise _failed(error) from None
        if reply.status != 200:
            raise _refused(reply.status, reply.body)
        try:
            body: Json = json.loads(reply.body)
            return {**body, "id": request_id, "model": self.name, "choices": body["choices"]}
        except (ValueError, KeyError, TypeError) as error:
            raise _failed(error) from None

    async def stream(
        self, request: ChatRequest | CompletionRequest, request_id: str
    ) -> AsyncIterator[Json]:
        """The upstream's chunks under our id and model name."""
        more: Json = {"stream": True, "stream_options": {"include_usage": True}}
        path, body = self._path(request), self._body(request, more)
        try:
            async with self.client.asking(path, body) as (status, connection):
                if status != 200:
                    raise _refused(status, await connection.take())
                async for line in _lines(connection):
                    data = line.removeprefix(b"data:").strip()
                    if line.startswith(b"data:") and data != b"[DONE]":
                        yield {**json.loads(data), "id": request_id, "model": self.name}
        except (Unreachable, ValueError, TypeError) as error:
            raise _failed(error) from None

    def _path(self, request: ChatRequest | CompletionRequest) -> str:
        return "/chat/completions" if isinstance(request, ChatRequest) else "/completions"

    def _body(self, request: ChatRequest | CompletionRequest, more: Json | None = None) -> bytes:
        body = request.model_dump(exclude_none=True, exclude=OWN_FIELDS)
        body["model"] = self.model
        name = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
        body[name] = min(body.get(name, self.max_response), self.max_response)
        return json.dumps({**body, **(more or {})}).encode()


async def _lines(connection: Connection) -> AsyncIterator[bytes]:
    """The lines of an answer as they come."""
    rest = b""
    while piece := await connection.take():
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > MAX_LINE:
            raise ValueError(f"a line of the answer is longer than {MAX_LINE} bytes")
        for line in lines:
            yield line
    yield rest


async def check_upstream(url: str, *, private: bool, resolve: Resolve = ask_system) -> None:
    """ValueError, with the way out, if no connection may go to where the URL leads now."""
    parts = urlsplit(check_url(url))
    port = parts.port or (443 if parts.scheme == "https" else 80)
    await checked_addresses(str(parts.hostname), port, private=private, resolve=resolve)


def check_url(url: str) -> str:
    """The URL without a slash at the end; ValueError for anything but http(s)://HOST/PATH."""
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
            f"upstream is {url!r}; it must be like http://127.0.0.1:8001/v1, without a user, a "
            "query or a fragment (a key goes in the variable UNDERSTUDY_UPSTREAM_KEY)"
        )
    return url.rstrip("/")


def _refused(status: int, content: bytes) -> ApiError:
    try:
        message = str(json.loads(content)["error"]["message"])[:500]
    except (ValueError, KeyError, TypeError):
        message = "the model's server refused the request"
    if status in PASSED_ON:
        return ApiError(status, message, code="upstream_refused")
    return ApiError(502, "the model's server failed", kind="server_error", code="upstream_failed")


def _failed(error: Exception) -> ApiError:
    return ApiError(
        502,
        f"the model's server cannot be reached ({type(error).__name__})",
        kind="server_error",
        code="upstream_failed",
    )
